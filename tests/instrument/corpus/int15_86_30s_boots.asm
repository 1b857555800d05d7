; expect: booted next-device
; budget: 120
; Lets the BIOS wait for 30 s (INT 15h, AH=86h), and boots.

%include "common.inc"
        begin
        mov cx, 30000000 >> 16
        mov dx, 30000000 & 0xffff
        mov ah, 0x86
        int 0x15
        boots
        finish
