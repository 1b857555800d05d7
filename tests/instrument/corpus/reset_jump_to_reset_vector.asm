; expect: reset_loop
; Jumps to FFFF:0000, where the BIOS begins, each time it is booted: SeaBIOS then resets the PC.

%include "common.inc"
        begin
        mov word [0x472], 0x1234
        jmp 0xffff:0
        finish
