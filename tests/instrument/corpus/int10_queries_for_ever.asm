; expect: inconclusive
; budget: 6
; Asks the BIOS for the video mode (INT 10h, AH=0Fh), for ever.

%include "common.inc"
        begin
.loop:  mov ah, 0x0f
        int 0x10
        jmp .loop
        finish
