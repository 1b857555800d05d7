; expect: inconclusive
; budget: 6
; Sets a graphics mode and a text mode by turns, for ever.

%include "common.inc"
        begin
.loop:  mov ax, 0x13
        int 0x10
        mov ax, 3
        int 0x10
        jmp .loop
        finish
