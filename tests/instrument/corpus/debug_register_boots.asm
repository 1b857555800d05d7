; expect: booted next-device
; A jump to itself; a debug register watches the BIOS's tick count at 40:6C for writes. The
; handler of the debug exception counts them and boots after 5 s. No vector of an interrupt is
; the payload's.

%include "common.inc"
        begin
        hook 1, written
        mov eax, 0x46c
        mov dr0, eax
        mov eax, 0xd0402        ; breakpoint 0, global: four bytes, writes
        mov dr7, eax
.spin:  jmp .spin
written:
        inc word [cs:count]
        cmp word [cs:count], TICKS_5S
        jae .leave
        iret
.leave: xor eax, eax
        mov dr7, eax
        boots_from_handler
count:  dw 0
        finish
