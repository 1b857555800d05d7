; expect: inconclusive
; budget: 8
; Counts down 64 bits in two registers and would boot then, in thousands of years: a delay loop
; by its looks, and its state is too large to be seen to recur.

%include "common.inc"
        begin
        cli
        xor eax, eax
        xor edx, edx
.count: sub eax, 1
        sbb edx, 0
        mov ebx, eax
        or ebx, edx
        jnz .count
        boots
        finish
