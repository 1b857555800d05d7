; expect: no_boot_device
; drive: usb
; fault: cut at read 1
; The cable is cut while the BIOS reads the boot sector. SeaBIOS waits its 5 s, says that it could
; not read the disk, tries no other one and gives up politely.

%include "common.inc"
        begin
        boots
        finish
