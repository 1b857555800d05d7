; expect: waiting
; budget: 15
; Asks for a key, writes a line when it has one, and stops for good with interrupts off. Until
; then it waits; what a key leads to does not change that.

%include "common.inc"
        begin
        show "Press any key to halt"
        mov ah, 0
        int 0x16
        show "System halted"
        cli
.stop:  hlt
        jmp .stop
        finish
