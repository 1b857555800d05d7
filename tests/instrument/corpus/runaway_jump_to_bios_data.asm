; expect: hung runaway
; A far jump to 0040:0000: the BIOS's data are run, its count of ticks at zero. As code each time of
; day is another program: one of them has the BIOS print without an end.

%include "common.inc"
        begin
        cli
        mov dword [0x46c], 0
        jmp 0x40:0
        finish
