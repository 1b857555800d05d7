; expect: hung runaway
; A far jump to 9000:0000, where a second stage was to be loaded and was not: memory full of
; zeros, and behind it the BIOS's extended data.

%include "common.inc"
        begin
        jmp 0x9000:0
        finish
