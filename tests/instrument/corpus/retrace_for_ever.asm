; expect: inconclusive
; budget: 6
; Waits for the screen's retrace (port 3DAh), again and again.

%include "common.inc"
        begin
        mov dx, 0x3da
.low:   in al, dx
        test al, 8
        jnz .low
.high:  in al, dx
        test al, 8
        jz .high
        jmp .low
        finish
