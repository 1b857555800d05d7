; expect: waiting
; budget: 15
; Asks for a key, and resets the PC when it has one.

%include "common.inc"
        begin
        show "Non-system disk. Press any key to reboot"
        mov ah, 0
        int 0x16
        mov al, 0xfe
        out 0x64, al
.wait:  hlt
        jmp .wait
        finish
