; expect: waiting
; budget: 15
; Asks for a key and boots again by INT 19h, as the boot sectors do that mkfs tools write.

%include "common.inc"
        begin
        show "Not a bootable disk. Press any key to try again"
        mov ah, 0
        int 0x16
        int 0x19
        finish
