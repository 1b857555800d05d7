; expect: hung spinning
; Code copied to 9000:0000, below the BIOS's extended data area, spins there, interrupts on.

%include "common.inc"
        begin
        mov ax, 0x9000
        mov es, ax
        mov si, code
        xor di, di
        mov cx, length
        rep movsb
        jmp 0x9000:0
code:   xchg ax, bx
        xchg ax, bx
        jmp code
length  equ $ - code
        finish
