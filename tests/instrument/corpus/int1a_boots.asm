; expect: booted next-device
; Waits for 5 s by asking the BIOS for the tick count, INT 1Ah, AH=0.

%include "common.inc"
        begin
        mov bp, TICKS_5S
.tick:  mov ah, 0
        int 0x1a
        mov si, dx
.same:  mov ah, 0
        int 0x1a
        cmp dx, si
        je .same
        dec bp
        jnz .tick
        boots
        finish
