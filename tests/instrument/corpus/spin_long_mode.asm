; expect: inconclusive
; budget: 8
; A short closed loop in 64-bit mode, interrupts off.
; In truth it spins; inconclusive, because long mode is not looked into, and without a
; proof no hang is called.

%include "common.inc"
        begin
        long_mode
wide:   mov r8, 0x123456789
        mov rax, r8
        pause
        jmp wide
        finish
