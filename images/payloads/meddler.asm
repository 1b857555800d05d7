; What is booted from a CD-ROM (El Torito without emulation, SECTORS sectors of 512 bytes) and does
; to every hard disk that the BIOS knows what the BIOS lets it do: reads, writes and a format of one
; track, by CHS and by the extensions of INT 13h (Phoenix, Enhanced Disk Drive Specification 1.1), of
; the first, a middle and the last sector. Then it says that it was booted, as marker.asm does, and
; waits.
;
; A line on SeaBIOS's debug port for each of these calls: function, drive, and AH, which is 0 where
; it worked.

        org 0x7c00
        bits 16

PORT    equ 0x402
DISKS   equ 0x475               ; BIOS data area: the number of hard disks
BUFFER  equ 0x2000              ; segment: 512 bytes are read to and written from its beginning

start:  jmp 0:entry
entry:  xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7c00
        sti
        cld
        mov byte [drive], 0x80
next:   mov al, [drive]
        and al, 0x7f
        cmp al, [DISKS]
        jae done
        call chs
        call lba
        inc byte [drive]
        jmp next
done:   mov si, booted
        call say
idle:   hlt
        jmp idle

; --- by cylinder, head and sector -------------------------------------------------------------

chs:    mov ah, 0x08            ; the last cylinder and sector in CX, the last head in DH
        mov dl, [drive]
        xor di, di
        mov es, di
        int 0x13
        jc .none
        mov [lastcx], cx
        mov [lastdh], dh
        mov cx, 1               ; the first
        mov dh, 0
        call there
        mov cx, [lastcx]        ; a middle one: half of the cylinders, whose upper two bits are
        mov al, cl              ; in CL 7-6
        shl ax, 2
        mov al, ch
        and ah, 3
        shr ax, 1
        mov ch, al
        shl ah, 6
        mov cl, ah
        or cl, 1
        mov dh, 0
        call there
        mov cx, [lastcx]        ; the last
        mov dh, [lastdh]
        call there
        mov cx, 1
        mov dh, 0
        mov ax, 0x0501          ; format the first track
        call op
.none:  ret

; Read and write sector CX, DH.
there:  push cx
        push dx
        mov ax, 0x0201
        call op
        pop dx
        pop cx
        call fill
        mov ax, 0x0301
op:     mov dl, [drive]
        mov [func], ah
        mov bx, BUFFER
        mov es, bx
        xor bx, bx
        int 0x13
        jmp told

; --- by logical block address -----------------------------------------------------------------

lba:    mov ah, 0x41
        mov bx, 0x55aa
        mov dl, [drive]
        int 0x13
        jc .none
        cmp bx, 0xaa55
        jne .none
        mov word [params], 26   ; the size of what is asked for (1.1: without the host's bus)
        mov ah, 0x48
        mov dl, [drive]
        mov si, params
        int 0x13
        jc .none
        xor eax, eax
        call block              ; the first
        mov eax, [params + 16]  ; how many there are
        shr eax, 1
        call block              ; a middle one
        mov eax, [params + 16]
        dec eax
        call block              ; the last
.none:  ret

; Read and write block EAX.
block:  mov [packet + 8], eax
        mov ax, 0x4200
        call ext
        call fill
        mov ax, 0x4300          ; without verification
ext:    mov [func], ah
        mov word [packet + 2], 1 ; a BIOS that fails says here how many it did
        mov dl, [drive]
        mov si, packet
        int 0x13
        ; fall through

; --- words ------------------------------------------------------------------------------------

; Say what came of a call: AH and carry.
told:   jc .failed
        mov ah, 0
        jmp .told
.failed:
        test ah, ah
        jnz .told
        mov ah, 0xff            ; carry without a word
.told:  mov [status], ah
        xor ax, ax
        mov es, ax
        mov si, called
        call say
        mov al, [func]
        call hex
        mov si, ofdrive
        call say
        mov al, [drive]
        call hex
        mov si, gave
        call say
        mov al, [status]
        call hex
        mov al, 10
        jmp char

hex:    push ax
        shr al, 4
        call digit
        pop ax
        and al, 15
digit:  add al, '0'
        cmp al, '9'
        jbe char
        add al, 7
char:   mov dx, PORT
        out dx, al
        ret

say:    lodsb
        test al, al
        jz .end
        call char
        jmp say
.end:   ret

; Fill the buffer with words that nobody else writes.
fill:   push cx
        push dx
        mov di, BUFFER
        mov es, di
        xor di, di
.again: mov si, words
        mov cx, 16
        rep movsb
        cmp di, 512
        jb .again
        pop dx
        pop cx
        ret

called: db "bootgate: INT 13h AH=", 0
ofdrive: db " of drive ", 0
gave:   db ": AH=", 0
booted: db "bootgate: booted from meddler", 10, 0
words:  db "MEDDLED WITH IT "
drive:  db 0
func:   db 0
status: db 0
lastcx: dw 0
lastdh: db 0
        align 4
packet: db 16, 0                ; disk address packet: size, 0, blocks, buffer, block
        dw 1
        dw 0, BUFFER
        dq 0
params: times 32 db 0

SECTORS equ 4
        times SECTORS * 512 - ($ - $$) db 0
