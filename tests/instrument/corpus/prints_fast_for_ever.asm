; expect: inconclusive
; budget: 6
; Prints on the debug port as fast as it can and never ends a line, for ever.

%include "common.inc"
        begin
        cli
        mov dx, 0x402
        mov al, "."
.loop:  out dx, al
        jmp .loop
        finish
