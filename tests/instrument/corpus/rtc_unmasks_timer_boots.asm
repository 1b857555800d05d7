; expect: booted next-device
; The timer is masked. After 3 s the real-time clock's handler sets it to 18.2 Hz and takes the
; mask away; only then does the handler of the timer run, which boots after 18 ticks.

%include "common.inc"
        begin
        hook 0x70, clock
        hook 8, tick
        cli
        cmos_write 0x0a, 0x2f   ; 2 Hz
        cmos_write 0x0b, 0x42   ; the periodic interrupt, 24 hours, BCD
        cmos_read 0x0c
        imr 0xfb, 0xfe
        sti
.idle:  hlt
        jmp .idle
clock:  push ax
        cmos_read 0x0c
        inc byte [cs:clocks]
        cmp byte [cs:clocks], 6
        jne .back
        mov al, 0x34
        out 0x43, al
        mov al, 0
        out 0x40, al
        out 0x40, al
        imr 0xfe, 0xff
.back:  mov al, 0x20
        out 0xa0, al
        out 0x20, al
        pop ax
        iret
tick:   push ax
        mov al, 0x20
        out 0x20, al
        pop ax
        inc byte [cs:ticks]
        cmp byte [cs:ticks], 18
        jae .leave
        iret
.leave: boots_from_handler
clocks: db 0
ticks:  db 0
        finish
