; expect: waiting
; budget: 15
; 32-bit protected mode, interrupts off: polls ports 64h and 60h, says what it has and boots.

%include "common.inc"
        begin
        show "Press any key"
        protected
.poll:  in al, 0x64
        test al, 1
        jz .poll
        in al, 0x60
        say32 "kernel: a key"
        boots32
        finish
