; expect: hung spinning
; Moves itself away, loads the second sector to 0000:7C00 and jumps there: that one spins. What
; spins came from LBA 1, at the address to which the BIOS loads LBA 0.

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
second: nop
        jmp second
        times 1022 - ($ - $$) db 0
        dw 0xaa55
