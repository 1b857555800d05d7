; expect: inconclusive
; budget: 8
; Dead. In 64-bit long mode, PICs remapped, IRQ 0 and IRQ 1 on: HLT in a loop
; with interrupts on, waiting for a flag in memory. Each tick wakes it, but
; the payload's handler (one for all vectors) does no more than EOI and IRETQ,
; no register or memory is changed by it, and nobody ever sets the flag.
; In truth that is idle; inconclusive, because neither long mode nor a handler
; of its own is looked into, and without a proof no hang is called.
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
	cld
	mov	si, picv		; remap the PICs: 20h, 28h
.o:	lodsb
	mov	dl, al
	mov	dh, 0
	lodsb
	out	dx, al
	cmp	si, picv.e
	jb	.o
	mov	di, 0x1000		; page tables: 2 MB, one to one
	mov	cx, 0x1800
	xor	ax, ax
	rep	stosw
	mov	dword [0x1000], 0x2003
	mov	dword [0x2000], 0x3003
	mov	dword [0x3000], 0x83
	mov	di, 0x4000		; IDT: 256 gates, all to isr
	mov	cx, 256
.i:	mov	dword [di], (8 << 16) + isr
	mov	dword [di+4], 0x8e00
	mov	dword [di+8], 0
	mov	dword [di+12], 0
	add	di, 16
	loop	.i
	lgdt	[gdtr]
	lidt	[idtr]
	mov	eax, 0x20
	mov	cr4, eax
	mov	eax, 0x1000
	mov	cr3, eax
	mov	ecx, 0xc0000080
	rdmsr
	or	ah, 1
	wrmsr
	mov	eax, cr0
	or	eax, 0x80000001
	mov	cr0, eax
	jmp	8:lm
picv:	db 0x20,0x11, 0xa0,0x11, 0x21,0x20, 0xa1,0x28, 0x21,4, 0xa1,2
	db 0x21,1, 0xa1,1, 0x21,0xfc, 0xa1,0xff
.e:
align 8
gdt:	dq 0, 0x00209a0000000000, 0x0000920000000000
gdtr:	dw 23
	dd gdt
idtr:	dw 4095
	dd 0x4000
bits 64
lm:	mov	eax, 16
	mov	ds, eax
	mov	es, eax
	mov	ss, eax
	mov	esp, 0x7c00
.w:	sti
	hlt
	cmp	byte [flag], 0
	je	.w
	mov	esi, msg
	mov	edx, 0x402
.p:	lodsb
	test	al, al
	jz	.e
	out	dx, al
	jmp	.p
.e:	cli
	hlt
	jmp	.e
isr:	push	rax
	mov	al, 0x20
	out	0x20, al
	pop	rax
	iretq
flag:	db 0
msg:	db "bootgate: booted from idle64", 10, 0
	times 510-($-$$) db 0
	dw 0xaa55
