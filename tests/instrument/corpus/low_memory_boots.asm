; expect: booted next-device
; Code copied to 0000:0300, into vectors that nobody uses, waits there for 3 s and goes on: it
; looks like the interrupt table being run.

%include "common.inc"
        begin
        mov si, code
        mov di, 0x300
        mov cx, length
        rep movsb
        jmp 0:0x300
code:   wait_ticks 55
        jmp 0:ready
length  equ $ - code
ready:  boots
        finish
