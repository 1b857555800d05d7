; expect: booted next-device
; The timer's interrupt is masked for 3 s, in which the PIT's counter is read; then it is set to
; 18.2 Hz, unmasked, and 36 wake-ups of a HLT are counted.

%include "common.inc"
        begin
        imr 0xff, 0xff
        mov ebp, 3579546        ; 3 s of the PIT's clock
        call counter
        mov bx, ax
.poll:  call counter
        mov cx, bx
        mov bx, ax
        sub cx, ax
        movzx ecx, cx
        sub ebp, ecx
        ja .poll
        mov al, 0x34
        out 0x43, al
        mov al, 0
        out 0x40, al
        out 0x40, al
        imr 0xfe, 0xff
        mov cx, 36
.idle:  hlt
        loop .idle
        boots
counter:
        mov al, 0
        out 0x43, al
        in al, 0x40
        mov ah, al
        in al, 0x40
        xchg al, ah
        ret
        finish
