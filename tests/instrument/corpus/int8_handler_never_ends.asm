; expect: inconclusive
; budget: 8
; A jump to itself; its own handler of IRQ 0 counts ticks and would go on after 2^32 of them. It
; could end the loop, and is not going to.

%include "common.inc"
        begin
        hook 8, tick
.spin:  jmp .spin
tick:   inc dword [cs:count]
        jz .leave
        push ax
        mov al, 0x20
        out 0x20, al
        pop ax
        iret
.leave: boots_from_handler
count:  dd 0
        finish
