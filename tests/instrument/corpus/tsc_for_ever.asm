; expect: inconclusive
; budget: 6
; Reads the time-stamp counter for ever, interrupts off.

%include "common.inc"
        begin
        cli
.loop:  rdtsc
        cmp edx, -1
        jne .loop
        boots
        finish
