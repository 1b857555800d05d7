; expect: booted next-device
; drive: usb
; fault: cut at read 5
; The boot loader loses its drive: INT 13h says so after the BIOS's 5 s, and it goes on without.

%include "common.inc"
        begin
.read:  read_sectors 1, 1, 0x900
        jnc .read
        boots
        finish
