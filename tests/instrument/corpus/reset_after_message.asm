; expect: reset_loop
; Prints a message, waits for a second and resets the PC, as a system does that panics at its
; start.

%include "common.inc"
        begin
        show "panic: cannot mount root; rebooting"
        say "panic: cannot mount root; rebooting"
        wait_ticks 18
        mov al, 0xfe
        out 0x64, al
.wait:  jmp .wait
        finish
