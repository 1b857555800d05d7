; expect: booted next-device
; A jump to itself; its own handler of IRQ 0, the only one, counts to 5 s and boots.

%include "common.inc"
        begin
        hook 8, tick
.spin:  jmp .spin
tick:   inc word [cs:count]
        cmp word [cs:count], TICKS_5S
        jae .leave
        push ax
        mov al, 0x20
        out 0x20, al
        pop ax
        iret
.leave: boots_from_handler
count:  dw 0
        finish
