; expect: inconclusive
; budget: 8
; Takes keys through INT 16h, AH=0, and throws them away, for ever: a key is taken, and nothing
; is to be seen of it.

%include "common.inc"
        begin
.loop:  mov ah, 0
        int 0x16
        jmp .loop
        finish
