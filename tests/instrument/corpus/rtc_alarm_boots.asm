; expect: booted next-device
; A closed HLT loop, all interrupts masked but that of the real-time clock, whose alarm is set
; to 5 s from now. Nothing stirs until then; its handler boots.

%include "common.inc"
        begin
        hook 0x70, alarm
        cli
        cmos_read 0
        add al, 5
        daa
        cmp al, 0x60
        jb .minute
        sub al, 0x60
.minute:
        mov bl, al
        cmos_write 1, bl
        cmos_write 3, 0xff      ; in any minute, any hour
        cmos_write 5, 0xff
        cmos_write 0x0b, 0x22   ; the alarm's interrupt, 24 hours, BCD
        cmos_read 0x0c
        imr 0xfb, 0xfe
        sti
.idle:  hlt
        jmp .idle
alarm:  boots_from_handler
        finish
