; expect: booted next-device
; Interrupts off: looks at port 64h for a key and at the PIT's counter for 5 s to be over; boots
; then.

%include "common.inc"
        begin
        cli
        mov ebp, 5965910        ; 5 s of the PIT's clock
        call counter
        mov bx, ax
.poll:  in al, 0x64
        test al, 1
        jnz .boot
        call counter
        mov cx, bx
        mov bx, ax
        sub cx, ax              ; it counts down
        movzx ecx, cx
        sub ebp, ecx
        ja .poll
.boot:  boots
counter:
        mov al, 0
        out 0x43, al
        in al, 0x40
        mov ah, al
        in al, 0x40
        xchg al, ah
        ret
        finish
