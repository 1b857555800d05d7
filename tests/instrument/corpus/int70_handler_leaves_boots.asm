; expect: booted next-device
; A jump to itself with IRQ 0 masked; the real-time clock interrupts it 8 times a second (IRQ
; 8), and its handler boots after 5 s.

%include "common.inc"
        begin
        hook 0x70, tick
        cli
        cmos_write 0x0a, 0x2d   ; 8 Hz
        cmos_write 0x0b, 0x42   ; the periodic interrupt, 24 hours, BCD
        cmos_read 0x0c
        imr 0xfb, 0xfe
        sti
.spin:  jmp .spin
tick:   push ax
        cmos_read 0x0c
        mov al, 0x20
        out 0xa0, al
        out 0x20, al
        pop ax
        inc word [cs:count]
        cmp word [cs:count], 40
        jae .leave
        iret
.leave: boots_from_handler
count:  dw 0
        finish
