; expect: booted next-device
; A jump to itself, as closed as can be; its own handler of the BIOS's tick (INT 1Ch) does not
; return any more after 5 s, and boots.

%include "common.inc"
        begin
        hook 0x1c, tick
.spin:  jmp .spin
tick:   inc word [cs:count]
        cmp word [cs:count], TICKS_5S
        jae .leave
        iret
.leave: boots_from_handler
count:  dw 0
        finish
