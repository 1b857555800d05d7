; expect: booted next-device
; Real mode with its interrupt table somewhere else (LIDT, 0000:2000): the one at 0 says nothing
; of what the timer does, which boots after 5 s. The main program is a jump to itself.

%include "common.inc"
        begin
        cli
        mov si, 0
        mov di, 0x2000
        mov cx, 512
        rep movsw
        mov word [0x2000 + 4 * 8], tick
        mov word [0x2000 + 4 * 8 + 2], 0
        lidt [table]
        sti
.spin:  jmp .spin
tick:   push ax
        mov al, 0x20
        out 0x20, al
        pop ax
        inc word [cs:count]
        cmp word [cs:count], TICKS_5S
        jae .leave
        iret
.leave: cli
        lidt [cs:old]
        boots_from_handler
table:  dw 0x3ff
        dd 0x2000
old:    dw 0x3ff
        dd 0
count:  dw 0
        finish
