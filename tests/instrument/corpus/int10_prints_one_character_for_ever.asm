; expect: inconclusive
; budget: 6
; Prints by INT 10h the same character in the same place, for ever: the screen looks still.

%include "common.inc"
        begin
.loop:  mov ax, 0x0e00 + "."
        mov bx, 7
        int 0x10
        mov ax, 0x0e00 + 8      ; back
        int 0x10
        jmp .loop
        finish
