; expect: hung spinning
; A jump to itself in 32-bit protected mode, interrupts off.

%include "common.inc"
        begin
        protected
.spin:  jmp .spin
        finish
