; expect: inconclusive
; budget: 8
; Looks for a key through INT 16h, AH=1, and does nothing with what it hears, for ever. It calls
; the BIOS, so it is not shown to be dead; and no key is taken, so it does not wait for one.

%include "common.inc"
        begin
.loop:  mov ah, 1
        int 0x16
        jmp .loop
        finish
