; expect: hung halted
; The main program is a busy loop with interrupts on; the handler of the timer's interrupt, in
; which they are off, stops for good at the first tick.

%include "common.inc"
        begin
        hook 8, tick
.busy:  jmp .busy
tick:   hlt
        jmp tick
        finish
