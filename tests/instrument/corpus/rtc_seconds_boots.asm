; expect: booted next-device
; Sees the seconds of the real-time clock (port 71h, register 0) change six times, and boots.

%include "common.inc"
        begin
        mov cx, 6
.second:
        cmos_read 0
        mov ah, al
.same:  cmos_read 0
        cmp al, ah
        je .same
        loop .second
        boots
        finish
