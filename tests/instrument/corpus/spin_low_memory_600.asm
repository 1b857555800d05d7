; expect: hung spinning
; A boot sector that moves itself to 0000:0600, as most do that load another, and spins there.

%include "common.inc"
        begin
        mov si, 0x7c00
        mov di, 0x600
        mov cx, 256
        rep movsw
        jmp 0:moved - 0x7600
moved:  mov cx, 3
        jcxz .out
        jmp moved
.out:   boots
        finish
