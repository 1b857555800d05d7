; expect: hung spinning
; A closed loop that calls, pushes and pops: what it writes to the stack is the same in each
; turn.

%include "common.inc"
        begin
        mov ax, 7
.spin:  push ax
        call first
        pop ax
        jmp .spin
first:  push bx
        mov bx, ax
        call second
        pop bx
        ret
second: pushf
        pusha
        add ax, bx
        popa
        popf
        ret
        finish
