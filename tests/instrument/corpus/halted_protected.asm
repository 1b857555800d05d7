; expect: hung halted
; CLI and HLT in 32-bit protected mode.

%include "common.inc"
        begin
        protected
.stop:  hlt
        jmp .stop
        finish
