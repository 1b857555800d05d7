; expect: booted next-device
; budget: 120
; Reads the disk through INT 13h for 20 s, and boots.

%include "common.inc"
        begin
        mov bp, TICKS_20S
.tick:  mov edi, [0x46c]
.read:  read_sectors 1, 8, 0x900
        cmp edi, [0x46c]
        je .read
        dec bp
        jnz .tick
        boots
        finish
