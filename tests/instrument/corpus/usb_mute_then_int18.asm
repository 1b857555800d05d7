; expect: no_boot_device
; drive: usb
; fault: mute at read 5
; The boot loader reads its own disk sector by sector; the drive falls silent, INT 13h says so
; after the BIOS's 5 s, and the boot loader gives control back through INT 18h.

%include "common.inc"
        begin
.read:  read_sectors 1, 1, 0x900
        jnc .read
        int 0x18
        finish
