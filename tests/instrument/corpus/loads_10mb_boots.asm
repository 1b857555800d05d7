; expect: booted next-device
; budget: 60
; size: 12
; A boot loader that loads 10 MB through INT 13h and boots, 127 sectors at a time, as GRUB does
; (grub-core/boot/i386/pc/diskboot.S).

%include "common.inc"
        begin
        mov bp, 160
.next:  mov si, packet
        mov ah, 0x42
        mov dl, 0x80
        int 0x13
        jc .failed
        add dword [packet + 8], 127
        dec bp
        jnz .next
        boots
.failed:
        say "loader: the disk cannot be read"
        cli
        hlt
packet: dw 16, 127, 0, 0x1000
        dq 64
        finish
