; expect: hung idle
; HLT with interrupts on in 32-bit protected mode, all interrupts masked.

%include "common.inc"
        begin
        imr 0xff, 0xff
        protected
        sti
.idle:  hlt
        jmp .idle
        finish
