; Option ROM: a BIOS that jumps to the first hard disk's sector 0 without looking for 55AA.
;
; Before that it fills all memory that a boot sector may use with zeros, from 0500h to the end of
; conventional memory (INT 12h: the EBDA begins there), except for the sector. What a sector
; that holds no program runs into is then the same in every boot.
;
; Zeros, because that is what it would find on a PC: the specification of POST Memory Manager
; has the BIOS clear what it lent before it boots (SeaBIOS, src/post.c, startBoot, clears 7000h to
; 90000h). As code each pair of them is "add [bx+si], al": no input or output at any alignment, and
; with the registers that the sector is given here (AL = 0) it changes nothing. IP then goes from
; FFFFh to 0000h, into the interrupt table. SeaBIOS's first vectors, F000:FF53, read as
; "push bx; inc word [bx+si]; lock push bx". A processor finds the last of these invalid; QEMU lets
; the LOCK pass, comes to the RET that vector 2 (F000:E2C3) begins with, and so back to 0000h,
; until the INC has made 63h of the first byte, which is no opcode in real mode (after a sector of
; zeros; another may leave AL, and so that byte, different). Either way it ends at an invalid
; opcode whose handler is an IRET that leads back to it, for ever.

%define NAME "blind"
%include "int19.inc"

FREE    equ 0x500 / 16          ; in paragraphs of 16 bytes: the BIOS data area ends there

; Zeros from paragraph BX up to paragraph %1. Interrupts must be off: the stack is filled, too.
%macro fill 1
%%next: mov es, bx
        xor di, di
        mov cx, 16 / 4
        rep stosd
        inc bx
        cmp bx, %1
        jb %%next
%endmacro

loaded: mov si, booting
        call say
        int 0x12                ; AX: KiB of conventional memory
        shl ax, 6
        mov dx, ax
        cli
        xor eax, eax
        mov bx, FREE
        fill SECTOR / 16
        mov bx, (SECTOR + 512) / 16
        fill dx
        jmp enter_sector
