; expect: hung spinning
; A jump to itself with interrupts off.

%include "common.inc"
        begin
        cli
.spin:  jmp .spin
        finish
