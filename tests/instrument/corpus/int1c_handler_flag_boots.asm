; expect: booted next-device
; A closed loop waits for a flag that its own handler of the BIOS's tick (INT 1Ch) sets after 5
; s.

%include "common.inc"
        begin
        hook 0x1c, tick
.wait:  cmp byte [over], 0
        je .wait
        boots
tick:   inc word [cs:count]
        cmp word [cs:count], TICKS_5S
        jb .back
        mov byte [cs:over], 1
.back:  iret
count:  dw 0
over:   db 0
        finish
