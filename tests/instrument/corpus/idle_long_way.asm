; expect: hung idle
; The loop around the HLT is 60 instructions long and calls a routine; no wake-up has any
; effect.

%include "common.inc"
        begin
.idle:  hlt
        call work
        jmp .idle
work:   mov ax, 1
%rep 25
        inc ax
        dec ax
%endrep
        ret
        finish
