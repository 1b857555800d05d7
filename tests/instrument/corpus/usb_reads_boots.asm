; expect: booted next-device
; drive: usb
; The boot loader reads its own disk a hundred times, and boots. A read that fails stops it for good.

%include "common.inc"
        begin
        mov bp, 100
.read:  read_sectors 1, 1, 0x900
        jc .stop
        dec bp
        jnz .read
        boots
.stop:  say "no more"
        cli
.halt:  hlt
        jmp .halt
        finish
