; expect: inconclusive
; budget: 6
; Waits for a bit of the keyboard controller's status (port 64h, a parity error) that does not
; come. A device could set it.

%include "common.inc"
        begin
        cli
.poll:  in al, 0x64
        test al, 0x80
        jz .poll
        boots
        finish
