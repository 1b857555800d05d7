; expect: hung runaway
; A far jump to A000:0000, the memory of a graphics mode that is not set.

%include "common.inc"
        begin
        jmp 0xa000:0
        finish
