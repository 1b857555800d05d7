; expect: inconclusive
; budget: 6
; Asks for the status of the last disk operation (INT 13h, AH=1), for ever.

%include "common.inc"
        begin
.loop:  mov ah, 1
        mov dl, 0x80
        int 0x13
        jmp .loop
        finish
