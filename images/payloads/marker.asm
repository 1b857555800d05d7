; Boot sector that says which medium it was booted from, on SeaBIOS's debug port (0x402, see
; QEMU's docs/specs for isa-debugcon) and on the screen (INT 10h, AH=0Eh), then waits with
; interrupts on, as a boot loader at a prompt would.
;
; The text lies at a fixed place (TEXT_OFFSET in images/payload.py) and ends with a zero byte.

        org 0x7c00
        bits 16

start:  jmp 0:entry             ; some BIOSes start at 07c0:0000
entry:  xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7c00
        sti
        cld
        mov ax, 3               ; 80x25 text, cleared: what the BIOS wrote is in its log
        int 0x10
        mov si, text
say:    lodsb
        test al, al
        jz idle
        mov dx, 0x402
        out dx, al
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        cmp al, 10              ; the screen wants a carriage return, the log does not
        jne say
        mov al, 13
        int 0x10
        jmp say
idle:   hlt
        jmp idle

        times 0x100 - ($ - $$) db 0
text:   times 0x80 db 0

        times 446 - ($ - $$) db 0
        ; One active partition of type 0Ch from sector 63 on: some BIOSes boot no disk
        ; without one, or take it for a floppy.
        db 0x80, 1, 1, 0, 0x0c, 254, 255, 255
        dd 63, 1985
        times 510 - ($ - $$) db 0
        dw 0xaa55
