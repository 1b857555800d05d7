; expect: booted next-device
; A HLT loop with the timer masked: the periodic interrupt of the real-time clock wakes it twice
; a second, the BIOS's handler takes it, and after ten times it boots.

%include "common.inc"
        begin
        cli
        cmos_write 0x0a, 0x2f   ; 2 Hz
        cmos_write 0x0b, 0x42   ; the periodic interrupt, 24 hours, BCD
        cmos_read 0x0c
        imr 0xfb, 0xfe
        sti
        mov cx, 10
.idle:  hlt
        loop .idle
        boots
        finish
