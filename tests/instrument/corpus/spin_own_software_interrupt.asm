; expect: hung spinning
; Calls an interrupt of its own whose handler returns at once. No BIOS, no device is in it.

%include "common.inc"
        begin
        hook 0x60, nothing
.spin:  int 0x60
        jmp .spin
nothing:
        iret
        finish
