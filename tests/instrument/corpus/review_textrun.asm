; expect: hung runaway
; budget: 20
; Dead. "call print" with the string placed in line behind the call, and a
; print routine that forgets to step the return address over it: after the
; (correctly printed) message the CPU executes the text. Its first letter,
; "c" = 63h = ARPL, is undefined in real mode; the BIOS's INT 6 handler
; returns to it, for ever, with interrupts on and the clock ticking.
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
	call	print
	db "cannot find the loader, trying again", 13, 10, 0
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
print:	mov	bp, sp
	mov	si, [bp]
.c:	lodsb
	test	al, al
	jz	.r
	mov	bx, 7
	mov	ah, 0x0e
	int	0x10
	jmp	.c
.r:	ret				; bug: should be "jmp si"
msg:	db "bootgate: booted from textrun", 10, 0
	times 510-($-$$) db 0
	dw 0xaa55
