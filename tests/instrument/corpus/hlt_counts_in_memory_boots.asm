; expect: booted next-device
; Counts 91 wake-ups of a HLT in memory, 5 s of ticks, and boots.

%include "common.inc"
        begin
.idle:  hlt
        inc word [count]
        cmp word [count], TICKS_5S
        jb .idle
        boots
count:  dw 0
        finish
