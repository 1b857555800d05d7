; expect: hung runaway
; The same with interrupts off: an instruction of the 80386 alone (0F 24, MOV from a test
; register) that later processors do not have.

%include "common.inc"
        begin
        cli
        db 0x0f, 0x24, 0xc0
        boots
        finish
