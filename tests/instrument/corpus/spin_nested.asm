; expect: hung spinning
; Three loops in one another that count down from constants, about 4000 instructions a turn, and
; then from the start: after a turn everything is what it was.

%include "common.inc"
        begin
        cli
.spin:  mov bx, 8
.outer: mov cx, 10
.inner: mov dx, 20
.count: dec dx
        jnz .count
        dec cx
        jnz .inner
        dec bx
        jnz .outer
        jmp .spin
        finish
