; expect: hung runaway
; Text where code should be: a README was written to the disk. It is run as it stands, and then
; the zeros behind it.

        db "This stick holds the manuals of the machine room, second edition.", 13, 10
        times 510 - ($ - $$) db 0
        dw 0xaa55
