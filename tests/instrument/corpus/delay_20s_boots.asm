; expect: booted next-device
; budget: 120
; Counts for about 20 s, interrupts on, and boots: a delay loop as old programs have it.

%include "common.inc"
        begin
        calibrate
        imul ebp, ebx, 91
.outer: mov ecx, 65536
.inner: dec ecx
        jnz .inner
        dec ebp
        jnz .outer
        boots
        finish
