; expect: inconclusive
; budget: 6
; Reads the PIT's counter for ever, interrupts off.

%include "common.inc"
        begin
        cli
.poll:  mov al, 0
        out 0x43, al
        in al, 0x40
        in al, 0x40
        jmp .poll
        finish
