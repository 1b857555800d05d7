; expect: booted next-device
; The boot sector moves itself to 0000:0600, counts for about 5 s there, interrupts off, and
; boots.

%include "common.inc"
        begin
        mov si, 0x7c00
        mov di, 0x600
        mov cx, 256
        rep movsw
        jmp 0:moved - 0x7600
moved:  calibrate
        imul ebp, ebx, 23
        cli
.next:  call unit
        dec ebp
        jnz .next
        boots
        finish
