; expect: inconclusive
; budget: 6
; Waits for the real-time clock to show 77h seconds, which it never does.

%include "common.inc"
        begin
        cli
.poll:  cmos_read 0
        cmp al, 0x77
        jne .poll
        boots
        finish
