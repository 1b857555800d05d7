; expect: hung idle
; Interrupts are on in the processor, and masked one and all in the interrupt controllers:
; nothing ever ends the HLT.

%include "common.inc"
        begin
        imr 0xff, 0xff
.idle:  hlt
        jmp .idle
        finish
