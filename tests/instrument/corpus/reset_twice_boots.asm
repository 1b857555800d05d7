; expect: booted next-device
; Resets the PC twice, as after an update of the firmware, and boots then. The count is at
; 0000:0600, which a reset leaves alone.

%include "common.inc"
        begin
        cmp dword [0x600], 0x626f6f74
        je .counts
        mov dword [0x600], 0x626f6f74
        mov byte [0x604], 0
.counts:
        inc byte [0x604]
        cmp byte [0x604], 3
        jae .boot
        mov al, 0xfe
        out 0x64, al
.wait:  jmp .wait
.boot:  boots
        finish
