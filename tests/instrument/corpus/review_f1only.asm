; expect: waiting
; budget: 10
; Looks dead (interrupts off, both PICs masked, graphics mode 13h, a screen
; that stands still, no INT 16h anywhere), but it waits for a key: it polls
; the keyboard controller's ports itself, and takes nothing but F1 (every
; other key is swallowed without a sign). The reaction: the whole picture
; is painted in another colour; then it waits for F1 again.
bits 16
org 0x7c00
	jmp	0:start
start:
	xor	ax, ax
	mov	ds, ax
	mov	ss, ax
	mov	sp, 0x7c00
	sti
	cld
	mov	ax, 0x13
	int	0x10
	mov	si, ask
.p:	lodsb
	test	al, al
	jz	.d
	mov	bx, 14
	mov	ah, 0x0e
	int	0x10
	jmp	.p
.d:	cli
	mov	al, 0xff
	out	0x21, al
	out	0xa1, al
	mov	ax, 0xa000
	mov	es, ax
	mov	bl, 4
poll:	in	al, 0x64
	test	al, 1
	jz	poll
	in	al, 0x60
	cmp	al, 0x3b		; F1, make code
	jne	poll
	mov	al, bl
	xor	bl, 6			; red, green, red, ...
	xor	di, di
	mov	cx, 64000
	rep	stosb
	jmp	poll
ask:	db "Disk error 80h.", 13, 10, 10, "Press F1 to continue", 0
	times 510-($-$$) db 0
	dw 0xaa55
