; expect: booted next-device
; A delay of about 5 s whose counter is the operand of one of its instructions, and then the
; loop's last jump is overwritten: no register ever changes.

%include "common.inc"
        begin
        calibrate
        imul ebx, ebx, 23
        mov [.left + 2], ebx
        xor ebx, ebx
        xor eax, eax
.loop:  call unit
        dec dword [.left + 2]
.left:  mov eax, 0x7fffffff
        test eax, eax
        mov eax, 0
        jnz .loop
        mov word [.jump], 0x9090
.jump:  jmp .loop
        boots
        finish
