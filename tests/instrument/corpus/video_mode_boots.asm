; expect: booted next-device
; Sets a graphics mode (12h), in which there is no text to see, and boots.

%include "common.inc"
        begin
        mov ax, 0x12
        int 0x10
        boots
        finish
