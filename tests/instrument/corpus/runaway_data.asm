; expect: hung runaway
; A jump past the end of the code into a table of numbers. The first of them that is no
; instruction raises an exception for ever, with the BIOS's bare IRET as its handler.

%include "common.inc"
        begin
        jmp table
table:  dw 1, 4, 9, 16, 25, 36, 49, 64, 81, 0xffff
        finish
