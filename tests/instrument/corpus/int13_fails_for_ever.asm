; expect: inconclusive
; budget: 6
; sample: yes
; Reads a sector beyond the disk's end through INT 13h and tries again when that fails, for
; ever: the disk is never asked.

%include "common.inc"
        begin
.again: read_sectors 0x10000000, 1, 0x900
        jc .again
        boots
        finish
