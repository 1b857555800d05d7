; expect: booted next-device
; Three counters in one another, interrupts off, about 5 s: every few milliseconds the two inner
; ones are where they have been before.

%include "common.inc"
        begin
        calibrate
        imul ebp, ebx, 23
        cli
.outer: mov si, 256
.middle:
        mov di, 256
.inner: dec di
        jnz .inner
        dec si
        jnz .middle
        dec ebp
        jnz .outer
        boots
        finish
