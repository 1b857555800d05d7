; expect: inconclusive
; budget: 20
; drive: usb
; fault: mute at read 5
; The boot loader reads on whatever INT 13h says of a drive that fell silent. It fails once, after
; the BIOS's 5 s; what SeaBIOS 1.16.2 says afterwards on EHCI is success, at once, without a
; command on the cable and without data.

%include "common.inc"
        begin
.read:  read_sectors 1, 1, 0x900
        jmp .read
        finish
