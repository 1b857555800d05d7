; expect: booted next-device
; A boot menu that counts down from 5 on the screen, waits by HLT and looks for a key; it boots
; by itself.

%include "common.inc"
        begin
        show "1: Linux   2: memory test"
        mov bp, "5"
.second:
        mov ax, bp
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        mov al, 13
        int 0x10
        mov di, 18
.tick:  mov esi, [0x46c]
.wait:  hlt
        mov ah, 1
        int 0x16
        jnz .boot
        cmp esi, [0x46c]
        je .wait
        dec di
        jnz .tick
        dec bp
        cmp bp, "0"
        jne .second
.boot:  boots
        finish
