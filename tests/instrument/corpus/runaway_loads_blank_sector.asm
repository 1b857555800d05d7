; expect: hung runaway
; A partition's boot sector is loaded to 0000:7C00 and run without a look at its signature; it
; is blank. So the zeros that are run came from LBA 1.

%include "common.inc"
        begin
        mov si, 0x7c00
        mov di, 0x600
        mov cx, 256
        rep movsw
        jmp 0:moved - 0x7600
moved:  mov si, 0x600 + packet - 0x7c00
        mov ah, 0x42
        mov dl, 0x80
        int 0x13
        jmp 0:0x7c00
packet: dw 16, 1, 0x7c00, 0
        dq 1
        finish
        times 512 db 0
