; expect: booted next-device
; Waits for 5 s by the BIOS's tick count at 40:6C, in a loop of two instructions.

%include "common.inc"
        begin
        wait_ticks TICKS_5S
        boots
        finish
