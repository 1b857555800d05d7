; expect: booted next-device
; Interrupts off; reads the PIT's counter and adds up what has passed, for 5 s: a wait of the
; BIOS's own kind.

%include "common.inc"
        begin
        cli
        mov ebp, 5965910        ; 5 s of the PIT's clock
        call counter
        mov bx, ax
.poll:  call counter
        mov cx, bx
        mov bx, ax
        sub cx, ax              ; it counts down
        movzx ecx, cx
        sub ebp, ecx
        ja .poll
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
