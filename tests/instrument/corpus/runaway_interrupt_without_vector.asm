; expect: hung runaway
; Calls an interrupt that nobody serves, with a vector of zeros: its handler is the interrupt
; table.

%include "common.inc"
        begin
        mov dword [4 * 0xf8], 0
        int 0xf8
.idle:  hlt
        jmp .idle
        finish
