; expect: hung runaway
; Erased flash memory with a signature. FF FF is no instruction: the BIOS's handler of the
; exception is a bare IRET, which returns to it, for ever.

        times 510 db 0xff
        dw 0xaa55
