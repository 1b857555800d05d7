; expect: booted nmiwake
; budget: 60
; Looks dead, is not. HLT with interrupts off and the PICs masked - but the
; local APIC's timer is programmed (one shot, 12 s) with delivery mode NMI,
; which IF does not hold back. No handler of the payload's own: the BIOS's
; INT 2 handler just returns. The wake-up then goes on behind the HLT.
; Twice, so that a single wake that leads to another CLI/HLT is no end.
bits 16
org 0x7c00
	jmp	0:start
start:
	cli
	xor	ax, ax
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	mov	sp, 0x7c00
	mov	al, 0xff
	out	0x21, al
	out	0xa1, al
	lgdt	[gdtr]
	mov	eax, cr0
	or	al, 1
	mov	cr0, eax
	jmp	$+2
	mov	bx, 8
	mov	ds, bx
	and	al, 0xfe
	mov	cr0, eax
	jmp	$+2
	xor	ax, ax
	mov	ds, ax
	mov	ebx, 0xfee00000
	mov	dword [ebx+0xf0], 0x1ff		; software enable
	mov	dword [ebx+0x320], 0x400	; LVT timer: one shot, NMI
	mov	dword [ebx+0x3e0], 3		; divide by 16
	mov	cx, 2
nap:
	mov	dword [ebx+0x380], 400000000	; 6.4 s at 1 GHz / 16
	cli
	hlt
	loop	nap
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
msg:	db "bootgate: booted from nmiwake", 10, 0
align 8
gdt:	dq 0, 0x00cf92000000ffff
gdtr:	dw 15
	dd gdt
	times 510-($-$$) db 0
	dw 0xaa55
