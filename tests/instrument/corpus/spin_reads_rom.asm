; expect: hung spinning
; Waits for a byte of the BIOS's ROM to be another one (F000:FFFE, the model). ROM does not
; change.

%include "common.inc"
        begin
        mov ax, 0xf000
        mov es, ax
        mov bl, [es:0xfffe]
.spin:  cmp bl, [es:0xfffe]
        je .spin
        boots
        finish
