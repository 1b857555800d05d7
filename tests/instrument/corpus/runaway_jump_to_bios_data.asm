; expect: hung runaway
; A far jump to 0040:0000: the BIOS's data are run.

%include "common.inc"
        begin
        jmp 0x40:0
        finish
