; expect: hung halted
; drive: usb
; fault: cut at read 5
; The boot loader reads its own disk sector by sector; the cable is cut, INT 13h says so after the
; BIOS's 5 s, and the boot loader stops for good. Not before that: the BIOS waits.

%include "common.inc"
        begin
.read:  read_sectors 1, 1, 0x900
        jnc .read
        say "no more"
        cli
.stop:  hlt
        jmp .stop
        finish
