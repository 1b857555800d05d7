; expect: hung spinning
; A closed loop of 300 instructions, interrupts on: it adds and takes away the same.

%include "common.inc"
        begin
.spin:
%rep 74
        inc ax
        inc bx
        dec ax
        dec bx
%endrep
        nop
        nop
        nop
        jmp .spin
        finish
