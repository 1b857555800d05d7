; expect: waiting
; budget: 15
; HLT and a look for a key through INT 16h, AH=1: idle, and yet not dead.

%include "common.inc"
        begin
        show "Press any key"
.poll:  hlt
        mov ah, 1
        int 0x16
        jz .poll
        mov ah, 0
        int 0x16
        boots
        finish
