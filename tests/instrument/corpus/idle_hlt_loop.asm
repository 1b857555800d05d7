; expect: hung idle
; sample: yes
; HLT with interrupts on, for ever. Timer and keyboard are the BIOS's: a tick is counted, a key
; goes into its buffer, and nobody asks for either.

%include "common.inc"
        begin
.idle:  hlt
        jmp .idle
        finish
