; expect: booted next-device
; Lets the BIOS wait for 5 s (INT 15h, AH=86h), and boots.

%include "common.inc"
        begin
        mov cx, 5000000 >> 16
        mov dx, 5000000 & 0xffff
        mov ah, 0x86
        int 0x15
        boots
        finish
