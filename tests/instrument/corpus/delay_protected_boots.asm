; expect: booted next-device
; A delay loop of about 5 s in 32-bit protected mode, interrupts off.

%include "common.inc"
        begin
        calibrate
        imul ebp, ebx, 23
        protected
.outer: mov ecx, 65536
.inner: dec ecx
        jnz .inner
        dec ebp
        jnz .outer
        boots32
        finish
