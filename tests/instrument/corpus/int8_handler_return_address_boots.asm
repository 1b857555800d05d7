; expect: booted next-device
; A jump to itself; its own handler of IRQ 0 calls the BIOS's and then, after 5 s, changes the
; address to which it returns to that of the instruction behind the loop.

%include "common.inc"
        begin
        mov eax, [4 * 8]
        mov [old], eax
        hook 8, tick
spin:   jmp spin
        boots
tick:   pushf
        call far [cs:old]
        push bp
        mov bp, sp
        inc word [cs:count]
        cmp word [cs:count], TICKS_5S
        jb .back
        cmp word [bp + 2], spin
        jne .back
        add word [bp + 2], 2
.back:  pop bp
        iret
old:    dd 0
count:  dw 0
        finish
