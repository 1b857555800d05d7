; expect: inconclusive
; budget: 8
; Counts up 64 bits in memory, registers untouched: nothing but that memory shows that the state
; does not recur.

%include "common.inc"
        begin
.count: add dword [number], 1
        adc dword [number + 4], 0
        jnc .count
        boots
number: dq 0
        finish
