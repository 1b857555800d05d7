; expect: booted next-device
; 32-bit protected mode, both interrupt controllers masked; the timer in the processor's own
; (local APIC) is set to 4 s and ends a jump to itself.

%include "common.inc"
        begin
        imr 0xff, 0xff
        protected
        empty_idt
        gate 0x40, over
        mov dword [0xfee000f0], 0x1ff           ; on; spurious interrupts are FFh
        mov dword [0xfee003e0], 0x0a            ; the clock (1 GHz) divided by 128
        mov dword [0xfee00320], 0x40            ; one shot, vector 40h
        mov dword [0xfee00380], 4000000000 / 128
        sti
.spin:  jmp .spin
over:   mov dword [0xfee000b0], 0
        boots32
        finish
