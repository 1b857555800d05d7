; expect: booted eventwait
; budget: 60
; Looks dead, is not. A closed loop without HLT that tests a byte of the
; payload's own memory that no code of the payload ever writes, with no
; interrupt hooked and IRQ 0 masked. INT 15h AH=83h ("event wait") was asked
; before to set bit 7 of that byte in 8 s (some 12 s here, as ticks get lost); the BIOS's RTC handler does so.
bits 16
org 0x7c00
	jmp	0:start
start:
	xor	ax, ax
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	mov	sp, 0x7c00
	cld
	sti
	mov	ax, 0x8300
	mov	cx, 8000000 >> 16
	mov	dx, 8000000 & 0xffff
	mov	bx, flag
	int	0x15
	in	al, 0x21
	or	al, 1
	out	0x21, al
.w:	test	byte [flag], 0x80
	jz	.w
	mov	si, msg
	mov	dx, 0x402
.p:	lodsb
	test	al, al
	jz	.e
	out	dx, al
	jmp	.p
.e:	cli
	hlt
	jmp	.e
flag:	db 0
msg:	db "bootgate: booted from eventwait", 10, 0
	times 510-($-$$) db 0
	dw 0xaa55
