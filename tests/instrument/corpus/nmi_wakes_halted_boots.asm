; expect: booted next-device
; HLT with interrupts off, and yet not dead: the I/O APIC delivers the timer as NMI, which no
; flag masks. Its handler counts, and boots after 5 s.

%include "common.inc"
        begin
        flat_fs
        hook 2, tick
        cli
        mov dword [fs:dword 0xfec00000], 0x15
        mov dword [fs:dword 0xfec00010], 0
        mov dword [fs:dword 0xfec00000], 0x14
        mov dword [fs:dword 0xfec00010], 0x400
.idle:  hlt
        jmp .idle
tick:   inc word [cs:count]
        cmp word [cs:count], TICKS_5S
        jae .leave
        iret
.leave: boots
count:  dw 0
        finish
