; expect: booted next-device
; Prints 40 lines on the debug port and on the screen, and boots.

%include "common.inc"
        begin
        mov cx, 40
.loop:  say "loader: looking at another driver"
        show "loading..."
        loop .loop
        boots
        finish
