; expect: hung spinning
; A loop that changes an operand of its own and changes it back: the state recurs every two
; turns.

%include "common.inc"
        begin
.spin:  xor byte [.place + 1], 0x55
.place: mov al, 0
        jmp .spin
        finish
