; expect: reset_loop
; An interrupt table without a single entry, and an interrupt: the processor shuts down, which
; resets the PC, and so on.

%include "common.inc"
        begin
        protected
        lidt [none]
        int3
none:   dw 0
        dd 0
        finish
