; expect: hung runaway
; Clears memory and does not stop before its own code: what comes next is a zero, and so is all
; else.

%include "common.inc"
        begin
        xor ax, ax
        mov di, 0x7000
        mov cx, 0x2000
        rep stosw
        boots
        finish
