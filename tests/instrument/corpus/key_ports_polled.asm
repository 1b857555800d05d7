; expect: waiting
; budget: 15
; Interrupts off; waits for the keyboard controller to have a byte (port 64h, bit 0), reads it
; (60h) and boots.

%include "common.inc"
        begin
        show "Press any key"
        cli
.poll:  in al, 0x64
        test al, 1
        jz .poll
        in al, 0x60
        boots
        finish
