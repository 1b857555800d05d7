; expect: hung runaway
; sample: yes
; A far jump to 0000:0000, as through a pointer that was never set: the interrupt table is run.

%include "common.inc"
        begin
        jmp far [pointer]
pointer:
        dw 0, 0
        finish
