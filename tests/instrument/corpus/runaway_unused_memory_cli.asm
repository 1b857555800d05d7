; expect: hung runaway
; A far jump to 2000:0000, interrupts off: 64 KiB of zeros are run round and round, for the
; instruction pointer wraps at the end of a segment.

%include "common.inc"
        begin
        cli
        jmp 0x2000:0
        finish
