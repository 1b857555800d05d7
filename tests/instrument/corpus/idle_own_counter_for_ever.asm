; expect: inconclusive
; budget: 8
; HLT in a loop that looks at a number which the payload's own handler of the timer counts up.
; It could end that, and would in seven years.

%include "common.inc"
        begin
        hook 0x1c, tick
.idle:  hlt
        cmp dword [count], 0xffffffff
        jne .idle
        boots
tick:   inc dword [cs:count]
        iret
count:  dd 0
        finish
