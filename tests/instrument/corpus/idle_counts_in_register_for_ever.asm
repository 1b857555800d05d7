; expect: inconclusive
; budget: 8
; A HLT loop that counts its wake-ups in a register of 32 bits and would go on after 2^32 of
; them, seven years: each wake-up has an effect, and none is seen to recur.

%include "common.inc"
        begin
        xor ecx, ecx
.idle:  hlt
        dec ecx
        jnz .idle
        boots
        finish
