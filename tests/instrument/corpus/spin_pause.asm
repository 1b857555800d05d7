; expect: hung spinning
; PAUSE and a jump back, as a processor waits that was told to get out of the way.

%include "common.inc"
        begin
        cli
.spin:  pause
        jmp .spin
        finish
