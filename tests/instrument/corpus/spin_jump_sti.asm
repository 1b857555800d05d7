; expect: hung spinning
; sample: yes
; A jump to itself with interrupts on: the BIOS counts its ticks, and always returns to it.

%include "common.inc"
        begin
.spin:  jmp .spin
        finish
