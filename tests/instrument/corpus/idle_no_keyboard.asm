; expect: hung idle
; A HLT loop in which only the keyboard's interrupt is masked: the timer wakes it, to no effect.

%include "common.inc"
        begin
        in al, 0x21
        or al, 2
        out 0x21, al
.idle:  hlt
        jmp .idle
        finish
