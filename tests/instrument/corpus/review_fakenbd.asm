; expect: hung halted
; budget: 20
; Dead, but dressed up as the BIOS's orderly end: writes "No bootable
; device." to the screen and to port 402h itself, then jumps, with
; interrupts off and both PICs masked, to a "hlt / jmp" loop of the BIOS's
; own code (searched for in F000h), so that CS says F000. IF = 0 and no
; NMI source: it stays halted for ever. The BIOS said nothing.
bits 16
org 0x7c00
	jmp	0:start
start:
	xor	ax, ax
	mov	ds, ax
	mov	ss, ax
	mov	sp, 0x7c00
	cld
	sti
	mov	si, msg
.p:	lodsb
	test	al, al
	jz	.d
	mov	dx, 0x402
	out	dx, al
	mov	bx, 7
	mov	ah, 0x0e
	int	0x10
	cmp	al, 10
	jne	.p
	mov	ax, 0x0e0d
	int	0x10
	jmp	.p
.d:	cli
	mov	al, 0xff
	out	0x21, al
	out	0xa1, al
	mov	ax, 0xf000
	mov	ds, ax
	xor	bx, bx
.s:	cmp	word [bx], 0xebf4	; hlt / jmp short -3
	jne	.n
	cmp	byte [bx+2], 0xfd
	je	.f
.n:	inc	bx
	cmp	bx, 0xfffd
	jb	.s
	xor	ax, ax			; none there: our own
	mov	bx, own
.f:	push	ax
	push	bx
	retf
own:	hlt
	jmp	own
msg:	db "Booting from Hard Disk...", 10
	db "Boot failed: not a bootable disk", 10, 10
	db "No bootable device.", 10, 0
	times 510-($-$$) db 0
	dw 0xaa55
