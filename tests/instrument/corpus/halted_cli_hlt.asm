; expect: hung halted
; sample: yes
; The shortest stop there is: interrupts off, then HLT. Only NMI, SMI or a reset end it, and
; nothing here sends one.

%include "common.inc"
        begin
        cli
.stop:  hlt
        jmp .stop
        finish
