; expect: booted next-device
; INT 19h three times over, counted at 0000:0600, a second apart; the fourth time it boots.

%include "common.inc"
        begin
        inc byte [0x600]
        cmp byte [0x600], 4
        jae .boot
        wait_ticks 18
        int 0x19
.boot:  boots
        finish
