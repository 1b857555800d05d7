; expect: booted next-device
; A loop of a division whose divisor is counted down in memory: after about 5 s it is 0, and the
; handler of the divide error boots. The loop itself has no way out.

%include "common.inc"
        begin
        calibrate
        imul ebx, ebx, 23
        mov [divisor], ebx
        hook 0, ended
.loop:  call unit
        dec dword [divisor]
        xor edx, edx
        mov eax, 1
        div dword [divisor]
        jmp .loop
ended:  boots
divisor:
        dd 0
        finish
