; expect: hung spinning
; Divides by zero; its own handler returns, as a trap's would, to the very instruction that
; failed (a fault saves its own address), for ever.

%include "common.inc"
        begin
        hook 0, again
        xor bx, bx
        mov ax, 1
        xor dx, dx
        div bx
        boots
again:  iret
        finish
