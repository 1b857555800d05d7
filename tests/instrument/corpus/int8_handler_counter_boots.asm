; expect: booted next-device
; A closed loop compares a number in memory with 91; the payload's own handler of IRQ 0 counts
; it up.

%include "common.inc"
        begin
        hook 8, tick
.wait:  cmp word [count], TICKS_5S
        jb .wait
        boots
tick:   push ax
        inc word [cs:count]
        mov al, 0x20
        out 0x20, al
        pop ax
        iret
count:  dw 0
        finish
