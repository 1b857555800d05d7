; expect: reset_loop
; Resets the PC through the chipset's reset register (port CF9h, 6), each time it is booted.

%include "common.inc"
        begin
        mov dx, 0xcf9
        mov al, 2
        out dx, al
        mov al, 6
        out dx, al
.wait:  jmp .wait
        finish
