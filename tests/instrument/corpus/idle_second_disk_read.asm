; expect: hung idle
; Reads a sector through INT 13h, and then idles for ever: the disk's interrupt was the last
; thing of any use.

%include "common.inc"
        begin
        read_sectors 1, 1, 0x900
.idle:  hlt
        jmp .idle
        finish
