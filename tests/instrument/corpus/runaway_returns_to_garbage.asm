; expect: hung runaway
; Returns through a stack that was overwritten: to 0000:9000, where there are zeros.

%include "common.inc"
        begin
        call broken
        boots
broken: mov bp, sp
        mov word [bp], 0x9000
        ret
        finish
