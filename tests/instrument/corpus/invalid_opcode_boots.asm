; expect: booted next-device
; UD2 with a handler of its own, that counts for about 5 s and then goes on behind it: an
; undefined opcode that is run again and again, and no hang.

%include "common.inc"
        begin
        calibrate
        imul ebx, ebx, 23
        mov [left], ebx
        hook 6, undefined
        ud2
        boots
undefined:
        call unit
        dec dword [left]
        jnz .again
        mov bp, sp
        add word [bp], 2
.again: iret
left:   dd 0
        finish
