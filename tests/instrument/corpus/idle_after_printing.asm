; expect: hung idle
; As a loader does that gave up: a message on the screen, then HLT with interrupts on, for ever.
; No key is asked for.

%include "common.inc"
        begin
        show "Operating system not found"
.idle:  sti
        hlt
        jmp .idle
        finish
