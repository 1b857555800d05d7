; expect: hung idle
; A HLT loop in which all interrupts but the keyboard's are masked. A key wakes it: the BIOS
; puts it into its buffer, from which nobody takes it.

%include "common.inc"
        begin
        imr 0xfd, 0xff
.idle:  hlt
        jmp .idle
        finish
