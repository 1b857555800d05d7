; expect: booted next-device
; A menu that boots by itself after 5 s, and that any key stops for good: who presses one to
; find out whether the PC is alive has changed what it does. No rule may, as long as it gets on
; by itself.

%include "common.inc"
        begin
        show "Booting in 5 s. Press any key to stop"
        mov di, TICKS_5S
.tick:  mov esi, [0x46c]
.wait:  hlt
        mov ah, 1
        int 0x16
        jnz .stop
        cmp esi, [0x46c]
        je .wait
        dec di
        jnz .tick
        boots
.stop:  show "Stopped"
        cli
.dead:  hlt
        jmp .dead
        finish
