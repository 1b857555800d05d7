; expect: inconclusive
; budget: 6
; Polls the refresh toggle in port 61h, as a delay does that has lost its count.

%include "common.inc"
        begin
        cli
.poll:  in al, 0x61
        and al, 0x10
        cmp al, ah
        mov ah, al
        jmp .poll
        finish
