; expect: booted next-device
; Two counters in one another, 16 bits and 32 bits, about 5 s, interrupts on.

%include "common.inc"
        begin
        calibrate
        imul ebp, ebx, 100        ; LOOP is faster than what was measured
.outer: xor cx, cx
.inner: loop .inner
        dec ebp
        jnz .outer
        boots
        finish
