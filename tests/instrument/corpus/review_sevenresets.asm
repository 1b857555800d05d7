; expect: no_boot_device
; budget: 90
; Looks like a reset loop, is none. Counts its starts in CMOS (7Dh: mark,
; 7Eh: count) and resets the PC by a triple fault seven times; the eighth
; start gives up in order with INT 18h, and the BIOS, alive, says that there
; is no bootable device.
bits 16
org 0x7c00
	jmp	0:start
start:
	cli
	xor	ax, ax
	mov	ds, ax
	mov	ss, ax
	mov	sp, 0x7c00
	mov	al, 0x7d
	call	rd
	cmp	al, 0xa5
	je	.have
	mov	ax, 0xa57d
	call	wr
	mov	ax, 0x007e
	call	wr
.have:	mov	al, 0x7e
	call	rd
	cmp	al, 7
	jae	.done
	inc	ax
	mov	ah, al
	mov	al, 0x7e
	call	wr
	lidt	[nul]			; triple fault
	int	3
	jmp	$
.done:	sti
	int	0x18
	jmp	.done
rd:	out	0x70, al
	in	al, 0x71
	ret
wr:	out	0x70, al
	xchg	al, ah
	out	0x71, al
	ret
nul:	dw 0
	dd 0
	times 510-($-$$) db 0
	dw 0xaa55
