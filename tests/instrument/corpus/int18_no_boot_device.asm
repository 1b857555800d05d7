; expect: no_boot_device
; sample: yes
; INT 18h, "I cannot boot": the BIOS goes on to the next device, and there is none.

%include "common.inc"
        begin
        int 0x18
        finish
