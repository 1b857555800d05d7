; expect: hung spinning
; A jump to itself with interrupts on in the processor and masked in the controllers.

%include "common.inc"
        begin
        imr 0xff, 0xff
.spin:  jmp .spin
        finish
