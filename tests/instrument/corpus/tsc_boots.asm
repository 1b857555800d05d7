; expect: booted next-device
; Measures the time-stamp counter against four ticks, then waits for 5 s by RDTSC, interrupts
; off.

%include "common.inc"
        begin
        wait_ticks 1
        rdtsc
        mov esi, eax
        mov edi, edx
        wait_ticks 4
        rdtsc
        sub eax, esi
        sbb edx, edi            ; what passes in 4 ticks; less than 2^32
        mov ecx, 23
        mul ecx
        mov esi, eax
        mov edi, edx
        cli
        rdtsc
        add esi, eax
        adc edi, edx
.wait:  rdtsc
        sub eax, esi
        sbb edx, edi
        jc .wait
        boots
        finish
