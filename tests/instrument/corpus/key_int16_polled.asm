; expect: waiting
; budget: 15
; Looks for a key through INT 16h, AH=1, again and again; takes it, writes a line, and boots.

%include "common.inc"
        begin
        show "Press any key to boot from the disk"
.poll:  mov ah, 1
        int 0x16
        jz .poll
        mov ah, 0
        int 0x16
        show "Booting"
        boots
        finish
