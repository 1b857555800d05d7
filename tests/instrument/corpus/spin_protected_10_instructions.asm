; expect: hung spinning
; A closed loop of ten instructions in 32-bit protected mode that reads memory which nobody
; writes.

%include "common.inc"
        begin
        protected
.spin:  mov eax, [0x100000]
        mov ebx, eax
        push ebx
        add ebx, 4
        lea ecx, [ebx + eax * 2]
        xor edx, edx
        sub ecx, ecx
        pop ebx
        test edx, edx
        jz .spin
        boots32
        finish
