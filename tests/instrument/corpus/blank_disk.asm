; expect: no_boot_device
; A disk of zeros, without a signature: the BIOS refuses it, finds no other and says so.

        times 512 db 0
