; expect: reset_loop
; sample: yes
; Resets the PC through the keyboard controller (port 64h, FEh), each time it is booted.

%include "common.inc"
        begin
        mov al, 0xfe
        out 0x64, al
.wait:  hlt
        jmp .wait
        finish
