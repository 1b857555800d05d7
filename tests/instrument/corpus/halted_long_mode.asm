; expect: hung halted
; CLI and HLT in 64-bit mode, where a modern loader or kernel stops when it panics.

%include "common.inc"
        begin
        long_mode
wide:   hlt
        jmp wide
        finish
