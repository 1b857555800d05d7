; expect: no_boot_device
; drive: usb
; fault: mute at read 1
; As usb_boot_sector_cut, with a drive that is there and does not answer any more.

%include "common.inc"
        begin
        boots
        finish
