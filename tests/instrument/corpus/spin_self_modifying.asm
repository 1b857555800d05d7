; expect: inconclusive
; budget: 8
; A loop that changes an operand of its own and changes it back: the state recurs every two
; turns.
; In truth it spins; inconclusive, because code that changes itself is not looked into,
; and without a proof no hang is called.

%include "common.inc"
        begin
.spin:  xor byte [.place + 1], 0x55
.place: mov al, 0
        jmp .spin
        finish
