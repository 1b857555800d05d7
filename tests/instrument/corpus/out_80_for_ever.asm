; expect: inconclusive
; budget: 6
; Writes a byte to port 80h, for ever. What a device makes of it cannot be known from the loop.

%include "common.inc"
        begin
.loop:  pause
        out 0x80, al
        jmp .loop
        finish
