; expect: waiting
; budget: 15
; Asks for a key without a word on the screen, and boots when it has one.

%include "common.inc"
        begin
        mov ah, 0
        int 0x16
        boots
        finish
