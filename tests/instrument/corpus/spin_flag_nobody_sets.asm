; expect: hung spinning
; Waits, interrupts on, for a byte of its own that no handler knows of: none is hooked, and the
; BIOS writes to its own data only.

%include "common.inc"
        begin
.spin:  cmp byte [flag], 0
        je .spin
        boots
flag:   db 0
        finish
