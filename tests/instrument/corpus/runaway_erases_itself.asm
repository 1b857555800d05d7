; expect: hung runaway
; Clears memory and does not stop at its own code: what comes next is a zero, and so is all
; else.

%include "common.inc"
        begin
        xor ax, ax
        mov di, .behind
        mov cx, 0x2000
        rep stosw
.behind:
        boots
        finish
