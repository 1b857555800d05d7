; expect: booted next-device
; 32-bit protected mode with an interrupt table of its own: a jump to itself, which the handler
; of the timer leaves after 5 s.

%include "common.inc"
        begin
        remap 0x20, 0x28
        imr 0xfe, 0xff
        protected
        empty_idt
        gate 0x20, tick
        sti
.spin:  jmp .spin
tick:   push eax
        mov al, 0x20
        out 0x20, al
        pop eax
        inc word [count]
        cmp word [count], TICKS_5S
        jae .leave
        iret
.leave: boots32
count:  dw 0
        finish
