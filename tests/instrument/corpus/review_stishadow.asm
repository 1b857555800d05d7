; expect: inconclusive
; budget: 8
; Dead, but looks as if the clock could end it. Waits for the BIOS tick
; count at 0:46C to change, with IRQ 0 running and an STI in every round -
; but the STI is followed at once by CLI, and STI holds interrupts back until
; the instruction after it is done. No interrupt is ever accepted, so nothing
; ever writes 46C: a closed loop of a few instructions, same state each round.
; (If a tick did get through, it would say it booted.) In truth it spins;
; inconclusive, because STI counts as letting interrupts in, and then they
; write what it reads: without a proof no hang is called.
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
	mov	ebx, [0x46c]
.w:	sti
	cli
	cmp	ebx, [0x46c]
	je	.w
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
msg:	db "bootgate: booted from stishadow", 10, 0
	times 510-($-$$) db 0
	dw 0xaa55
