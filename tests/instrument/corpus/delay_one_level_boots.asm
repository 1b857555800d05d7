; expect: booted next-device
; One counter of 32 bits, counted down for about 5 s with interrupts off, and then it boots. How
; far it has to count was measured against the ticks before.

%include "common.inc"
        begin
        calibrate
        mov eax, 65536 * 23
        mul ebx
        mov ecx, eax
        test edx, edx
        jz .fits
        mov ecx, -1             ; a fast machine: less than 5 s, then
.fits:  cli
.count: dec ecx
        jnz .count
        boots
        finish
