; expect: hung runaway
; A jump to 2 MiB in 32-bit protected mode, where a kernel was to be loaded and was not: zeros
; up to the end of memory, and then what nobody answers for.

%include "common.inc"
        begin
        protected
        jmp 8:0x200000
        finish
