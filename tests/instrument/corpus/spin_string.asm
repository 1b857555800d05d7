; expect: hung spinning
; A loop of string instructions: fills a kilobyte with the same value, copies it, compares it.

%include "common.inc"
        begin
.spin:  mov di, 0x8000
        mov cx, 512
        mov ax, 0x5a5a
        rep stosw
        mov si, 0x8000
        mov di, 0x8400
        mov cx, 512
        rep movsw
        mov si, 0x8000
        mov di, 0x8400
        mov cx, 512
        repe cmpsw
        je .spin
        boots
        finish
