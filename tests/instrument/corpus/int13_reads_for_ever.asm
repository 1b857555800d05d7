; expect: inconclusive
; budget: 6
; Reads the same sector through INT 13h, for ever.

%include "common.inc"
        begin
.loop:  read_sectors 1, 1, 0x900
        jmp .loop
        finish
