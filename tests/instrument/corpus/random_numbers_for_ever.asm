; expect: inconclusive
; budget: 8
; A generator of pseudo-random numbers (xorshift, 64 bits) that waits for a certain one: its
; period is too long to be seen to recur.

%include "common.inc"
        begin
        mov eax, 0x12345678
        mov edx, 0x9abcdef0
.next:  mov ecx, eax
        mov ebx, edx
        shld edx, eax, 13
        shl eax, 13
        xor eax, ecx
        xor edx, ebx
        mov ecx, eax
        mov ebx, edx
        shrd eax, edx, 7
        shr edx, 7
        xor eax, ecx
        xor edx, ebx
        mov ecx, eax
        mov ebx, edx
        shld edx, eax, 17
        shl eax, 17
        xor eax, ecx
        xor edx, ebx
        mov ecx, eax
        or ecx, edx             ; a generator of this kind never gives 0
        jnz .next
        boots
        finish
