; expect: inconclusive
; budget: 8
; HLT with a handler of its own for the timer, which acknowledges the interrupt and does nothing
; else. It could not end the loop, nor can the BIOS's handlers of the other interrupts.
; In truth it is idle; inconclusive, because handlers of its own are not looked into, and
; without a proof no hang is called.

%include "common.inc"
        begin
        hook 8, tick
.idle:  hlt
        jmp .idle
tick:   push ax
        mov al, 0x20
        out 0x20, al
        pop ax
        iret
        finish
