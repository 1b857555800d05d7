; expect: inconclusive
; budget: 6
; Prints a line on the debug port with every tick, for ever.

%include "common.inc"
        begin
.loop:  wait_ticks 1
        say "kernel: not ready, trying again"
        jmp .loop
        finish
