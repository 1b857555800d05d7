; expect: waiting
; budget: 15
; Its own handler of the keyboard's interrupt sets a flag; the main program sleeps by HLT until
; it is set, with all other interrupts masked, and boots.

%include "common.inc"
        begin
        hook 9, key
        imr 0xfd, 0xff
.wait:  hlt
        cmp byte [pressed], 0
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
