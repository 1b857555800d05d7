; expect: booted next-device
; budget: 60
; size: 12
; A boot loader that loads 10 MiB through INT 13h, 32 KiB at a time, and boots.

%include "common.inc"
        begin
        mov bp, 320
.next:  mov si, packet
        mov ah, 0x42
        mov dl, 0x80
        int 0x13
        jc .failed
        add dword [packet + 8], 64
        dec bp
        jnz .next
        boots
.failed:
        say "loader: the disk cannot be read"
        cli
        hlt
packet: dw 16, 64, 0, 0x1000
        dq 64
        finish
