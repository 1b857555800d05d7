; expect: hung halted
; A loader that finds no system, says so in the log and on the screen, and stops for good with
; interrupts off.

%include "common.inc"
        begin
        say "loader: no system found"
        show "Missing operating system"
        cli
.stop:  hlt
        jmp .stop
        finish
