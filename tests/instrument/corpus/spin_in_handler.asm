; expect: hung spinning
; The handler of the timer's interrupt never returns: a jump to itself with interrupts off, out
; of a HLT loop that looked harmless.

%include "common.inc"
        begin
        hook 8, tick
.idle:  hlt
        jmp .idle
tick:   jmp tick
        finish
