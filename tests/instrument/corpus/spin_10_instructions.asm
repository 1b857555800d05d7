; expect: hung spinning
; A closed loop of ten instructions, interrupts off. After one turn all registers are what they
; were.

%include "common.inc"
        begin
        cli
.spin:  mov ax, 0x1234
        mov bx, ax
        add bx, ax
        xor cx, cx
        mov dx, bx
        sub dx, ax
        shl dx, 1
        not cx
        and ax, cx
        jmp .spin
        finish
