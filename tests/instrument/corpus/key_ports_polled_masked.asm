; expect: waiting
; budget: 15
; Interrupts on, the keyboard's masked; reads port 60h when 64h says that there is something,
; and writes on the screen that it has a key.

%include "common.inc"
        begin
        in al, 0x21
        or al, 2
        out 0x21, al
.poll:  in al, 0x64
        and al, 0x21            ; a byte, and not of the mouse
        cmp al, 1
        jne .poll
        in al, 0x60
        show "A key. Rebooting is up to you."
.idle:  hlt
        jmp .idle
        finish
