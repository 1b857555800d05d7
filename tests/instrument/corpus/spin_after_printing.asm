; expect: hung spinning
; A loader's error message on the screen, and a jump to itself, as old boot sectors end.

%include "common.inc"
        begin
        show "Error loading operating system"
.spin:  jmp .spin
        finish
