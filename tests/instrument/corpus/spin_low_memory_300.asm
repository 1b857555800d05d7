; expect: hung spinning
; Code copied to 0000:0300, into vectors that nobody uses, spins there. It was put there to be
; run, and does what it was written for: not runaway.

%include "common.inc"
        begin
        mov si, code
        mov di, 0x300
        mov cx, length
        rep movsb
        jmp 0:0x300
code:   mov ax, 5
.spin:  inc ax
        dec ax
        push ax
        pop ax
        jmp .spin
length  equ $ - code
        finish
