; expect: booted next-device
; Counts 91 wake-ups of a HLT in a register, 5 s of ticks, and boots. Nothing in memory shows
; that it gets on.

%include "common.inc"
        begin
        mov cx, TICKS_5S
.idle:  hlt
        loop .idle
        boots
        finish
