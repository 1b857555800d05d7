; expect: inconclusive
; budget: 6
; Prints on the screen by INT 10h, AH=0Eh, for ever.

%include "common.inc"
        begin
        mov al, " "
.loop:  mov ah, 0x0e
        mov bx, 7
        int 0x10
        inc al
        and al, 0x7f
        jmp .loop
        finish
