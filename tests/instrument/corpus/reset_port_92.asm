; expect: reset_loop
; Resets the PC through bit 0 of port 92h, each time it is booted.

%include "common.inc"
        begin
        in al, 0x92
        or al, 1
        out 0x92, al
.wait:  jmp .wait
        finish
