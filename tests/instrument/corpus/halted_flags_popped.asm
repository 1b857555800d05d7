; expect: hung halted
; Interrupts are off because POPF took them away, not because of a CLI: what counts is the flag.

%include "common.inc"
        begin
        pushf
        pop ax
        and ah, 0xfd            ; IF is bit 9
        push ax
        popf
.stop:  hlt
        jmp .stop
        finish
