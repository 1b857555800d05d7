; expect: waiting
; budget: 15
; Its own handler of the keyboard's interrupt sets a flag, for which the main program waits in a
; loop that looks like a spin lock; then it boots.

%include "common.inc"
        begin
        hook 9, key
.wait:  cmp byte [pressed], 0
        je .wait
        boots
key:    push ax
        in al, 0x60
        mov byte [cs:pressed], 1
        mov al, 0x20
        out 0x20, al
        pop ax
        iret
pressed:
        db 0
        finish
