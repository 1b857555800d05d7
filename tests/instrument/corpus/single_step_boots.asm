; expect: booted next-device
; A jump to itself with the trap flag set: the handler of the single step is run after each, and
; leaves the loop when it has seen 91 ticks.

%include "common.inc"
        begin
        hook 1, step
        pushf
        mov bp, sp
        or byte [bp + 1], 1     ; TF is bit 8
        popf
.spin:  jmp .spin
step:   push eax
        mov eax, [cs:0x46c]
        cmp eax, [cs:last]
        je .back
        mov [cs:last], eax
        dec word [cs:left]
        jz .leave
.back:  pop eax
        iret
.leave: boots
last:   dd 0
left:   dw TICKS_5S
        finish
