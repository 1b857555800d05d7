; expect: inconclusive
; budget: 8
; A short closed loop in 64-bit mode, interrupts off.
; In truth it spins; inconclusive, because long mode is not looked into, and without a
; proof no hang is called.

%include "common.inc"
        begin
        protected
        mov edi, 0x10000        ; one page of each level; 2 MiB are mapped to themselves
        mov ecx, 0xc00
        xor eax, eax
        rep stosd
        mov dword [0x10000], 0x11003
        mov dword [0x11000], 0x12003
        mov dword [0x12000], 0x83
        mov eax, 0x10000
        mov cr3, eax
        mov eax, cr4
        or al, 0x20             ; PAE
        mov cr4, eax
        mov ecx, 0xc0000080     ; EFER
        rdmsr
        or ah, 1                ; LME
        wrmsr
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        jmp 24:wide
        bits 64
wide:   mov r8, 0x123456789
        mov rax, r8
        pause
        jmp wide
        finish
