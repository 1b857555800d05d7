; expect: booted next-device
; budget: 120
; Interrupts off; reads the PIT's counter for 30 s, as SeaBIOS waits for a drive to become
; ready.

%include "common.inc"
        begin
        cli
        mov ebp, 35795460       ; 30 s of the PIT's clock
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
