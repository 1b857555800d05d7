; expect: waiting
; budget: 15
; Asks for a key through INT 16h, AH=10h, and writes on the screen that it has one; then it
; stops.

%include "common.inc"
        begin
        show "Remove disks and press any key"
        mov ah, 0x10
        int 0x16
        show "Thank you"
.idle:  hlt
        jmp .idle
        finish
