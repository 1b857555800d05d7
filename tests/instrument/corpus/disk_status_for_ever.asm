; expect: inconclusive
; budget: 6
; Polls the status of the IDE controller (port 1F7h) for data that it has not asked for.

%include "common.inc"
        begin
        mov dx, 0x1f7
.poll:  in al, dx
        test al, 8
        jz .poll
        boots
        finish
