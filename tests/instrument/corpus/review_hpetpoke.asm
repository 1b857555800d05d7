; expect: booted hpetpoke
; budget: 60
; Looks dead, is not. "cli / jmp $" with both PICs masked and nothing hooked:
; registers, flags and memory stand still. But before it sits down in the
; loop the payload has programmed HPET timer 0 (FED00000h) for FSB (message)
; delivery: after 12 s the HPET itself writes the dword 90909090h over the
; "jmp $" (a device writes memory, no interrupt is involved), the loop
; falls open and the payload says it booted.
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
	lgdt	[gdtr]			; unreal mode: DS with a 4 GB limit
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
	mov	ebx, 0xfed00000
	mov	dword [ebx+0x10], 0	; stop
	mov	dword [ebx+0xf0], 0	; main counter = 0
	mov	dword [ebx+0xf4], 0
	mov	dword [ebx+0x100], 0x4004 ; FSB enable, int enable, one shot
	mov	dword [ebx+0x110], 0x90909090	; value to write ...
	mov	dword [ebx+0x114], patch	; ... and where
	mov	dword [ebx+0x108], 1200000000	; 12 s at 100 MHz
	mov	dword [ebx+0x10c], 0
	mov	dword [ebx+0x10], 1	; go
	xor	eax, eax
	xor	ebx, ebx
	jmp	patch
align 4
patch:
	jmp	$
	nop
	nop
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
msg:	db "bootgate: booted from hpetpoke", 10, 0
align 8
gdt:	dq 0, 0x00cf92000000ffff
gdtr:	dw 15
	dd gdt
	times 510-($-$$) db 0
	dw 0xaa55
