; expect: waiting
; budget: 15
; sample: yes
; Asks for any key through INT 16h, AH=0, and boots when it has one.

%include "common.inc"
        begin
        show "Press any key to continue"
        mov ah, 0
        int 0x16
        boots
        finish
