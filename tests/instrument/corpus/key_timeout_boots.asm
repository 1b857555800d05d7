; expect: booted next-device
; Asks for a key for 6 s, polling INT 16h, AH=1; boots with one or without.

%include "common.inc"
        begin
        show "Press any key within 6 s for the menu"
        mov di, 109
.tick:  mov esi, [0x46c]
.poll:  mov ah, 1
        int 0x16
        jnz .boot
        cmp esi, [0x46c]
        je .poll
        dec di
        jnz .tick
.boot:  boots
        finish
