; expect: booted next-device
; The outer counter of a delay loop of about 5 s is in memory, on the stack; all registers are
; the same whenever the inner one is at its end.

%include "common.inc"
        begin
        calibrate
        imul ebx, ebx, 23
        push ebx
        xor ebx, ebx
        mov bp, sp
.outer: call unit
        dec dword [bp]
        jnz .outer
        boots
        finish
