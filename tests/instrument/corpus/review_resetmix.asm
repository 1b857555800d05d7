; expect: reset_loop
; budget: 60
; Dead in a roundabout way: starts, says that it loads, waits 0..4 s on the
; tick count, and resets the PC - each time in another way, in turn (number
; kept in CMOS 7Eh): triple fault, port CF9h, keyboard controller FEh,
; port 92h, jump to FFFF:0. Never ends.
bits 16
org 0x7c00
	jmp	0:start
start:
	cli
	xor	ax, ax
	mov	ds, ax
	mov	ss, ax
	mov	sp, 0x7c00
	cld
	mov	al, 0x7e
	out	0x70, al
	in	al, 0x71
	xor	ah, ah
	mov	cl, 5
	div	cl			; AH = way
	mov	bl, ah
	mov	bh, 0
	mov	al, 0x7e
	out	0x70, al
	mov	al, bl
	inc	ax
	out	0x71, al
	mov	si, msg
	mov	dx, 0x402
.p:	lodsb
	test	al, al
	jz	.d
	out	dx, al
	jmp	.p
.d:	sti
	imul	cx, bx, 18
.t:	jcxz	.go
	mov	eax, [0x46c]
.q:	hlt
	cmp	eax, [0x46c]
	je	.q
	dec	cx
	jmp	.t
.go:	cli
	add	bx, bx
	jmp	[tab+bx]
tab:	dw w0, w1, w2, w3, w4
w0:	lidt	[nul]
	int	3
w1:	mov	dx, 0xcf9
	mov	al, 2
	out	dx, al
	mov	al, 6
	out	dx, al
	jmp	$
w2:	in	al, 0x64
	test	al, 2
	jnz	w2
	mov	al, 0xfe
	out	0x64, al
	jmp	$
w3:	in	al, 0x92
	and	al, 0xfe
	out	0x92, al
	or	al, 1
	out	0x92, al
	jmp	$
w4:	jmp	0xffff:0
nul:	dw 0
	dd 0
msg:	db "loading the system", 10, 0
	times 510-($-$$) db 0
	dw 0xaa55
