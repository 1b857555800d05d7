; expect: booted s3nap
; budget: 75
; Looks dead, is not. Suspends the PC to RAM (ACPI S3, PM1a_CNT) with the
; RTC alarm set 12 s ahead as the wake-up event (PM1_EN.RTC_EN). While it
; sleeps the CPU does not run at all. The alarm wakes the machine, the BIOS
; resumes through the FACS waking vector, and the payload says it booted.
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
	sti
	mov	ax, 0x0202
	mov	cx, 2
	mov	dh, 0
	mov	bx, 0x7e00
	int	0x13
	jc	fail
	jmp	go
fail:	int	0x18
gdt:	dq 0, 0x00cf92000000ffff
gdtr:	dw 15
	dd gdt
	times 510-($-$$) db 0
	dw 0xaa55
go:
	cli
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
	mov	ebx, 0xe0000
.rs:	cmp	dword [ebx], 'RSD '
	jne	.rn
	cmp	dword [ebx+4], 'PTR '
	je	.rf
.rn:	add	ebx, 16
	cmp	ebx, 0x100000
	jb	.rs
	jmp	fail
.rf:	mov	ebx, [ebx+16]		; RSDT
	mov	ecx, [ebx+4]
	sub	ecx, 36
	shr	ecx, 2
	add	ebx, 36
.ft:	mov	edi, [ebx]
	cmp	dword [edi], 'FACP'
	je	.ff
	add	ebx, 4
	dec	cx
	jnz	.ft
	jmp	fail
.ff:	mov	esi, [edi+36]		; FACS
	mov	dword [esi+12], wake	; waking vector
	; alarm: any hour, any minute, second + 12
.uip:	mov	al, 0x0a
	call	rd
	test	al, 0x80
	jnz	.uip
	mov	al, 0
	call	rd
	add	al, 0x12
	daa
	cmp	al, 0x60
	jb	.ok
	sub	al, 0x60
	das
.ok:	mov	ah, al
	mov	al, 1
	call	wr
	mov	ax, 0xc003
	call	wr
	mov	ax, 0xc005
	call	wr
	mov	al, 0x0c
	call	rd
	mov	al, 0x0b
	call	rd
	or	al, 0x20
	mov	ah, al
	mov	al, 0x0b
	call	wr
	mov	edx, [edi+56]		; PM1a_EVT_BLK
	mov	ax, 0xffff
	out	dx, ax			; clear the status
	add	dx, 2
	mov	ax, 0x0400		; RTC_EN
	out	dx, ax
	mov	edx, [edi+64]		; PM1a_CNT_BLK
	mov	ax, 0x2400		; SLP_EN, SLP_TYP 1 = S3
	out	dx, ax
.z:	jmp	.z

rd:	out	0x70, al
	in	al, 0x71
	ret
wr:	out	0x70, al
	xchg	al, ah
	out	0x71, al
	ret
align 16
wake:					; CS = wake >> 4, IP = 0
	jmp	0:.w
.w:	cli
	xor	ax, ax
	mov	ds, ax
	mov	ss, ax
	mov	sp, 0x7c00
	cld
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
msg:	db "bootgate: booted from s3nap", 10, 0
	times 2048-($-$$) db 0
