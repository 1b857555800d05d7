; expect: no_boot_device
; A partition table without an active partition: the loader says so, and gives the PC back by
; INT 18h.

%include "common.inc"
        begin
        show "No active partition"
        say "loader: no active partition"
        int 0x18
        finish
