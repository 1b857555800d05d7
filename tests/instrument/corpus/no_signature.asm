; expect: no_boot_device
; A boot sector that would boot, and lacks the signature: the BIOS does not run it.

%define SIGNATURE 0
%include "common.inc"
        begin
        boots
        finish
