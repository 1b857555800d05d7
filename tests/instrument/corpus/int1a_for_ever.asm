; expect: inconclusive
; budget: 6
; Asks the BIOS for the tick count (INT 1Ah), for ever.

%include "common.inc"
        begin
.loop:  mov ah, 0
        int 0x1a
        jmp .loop
        finish
