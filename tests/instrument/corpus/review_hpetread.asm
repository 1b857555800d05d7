; expect: inconclusive
; budget: 8
; Interrupts off, PICs masked, no port read, nothing hooked: two instructions
; that test one bit of a dword in memory. But that dword is the HPET's main
; counter (bit 31 of its upper half, memory mapped at FED000F4h): the loop
; reads a clock, and the bit it waits for comes up in some 2900 years.
bits 16
org 0x7c00
	jmp	0:start
start:
	cli
	xor	ax, ax
	mov	ds, ax
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
	mov	ebx, 0xfed000f0
	mov	dword [ebx-0xe0], 1	; run
.w:	test	dword [ebx+4], 0x80000000
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
msg:	db "bootgate: booted from hpetread", 10, 0
align 8
gdt:	dq 0, 0x00cf92000000ffff
gdtr:	dw 15
	dd gdt
	times 510-($-$$) db 0
	dw 0xaa55
