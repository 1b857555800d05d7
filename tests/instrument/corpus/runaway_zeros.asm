; expect: hung runaway
; sample: yes
; A signature and nothing before it, as in a disk that was partitioned and never made bootable.
; The zeros are run as ADD [BX+SI],AL up to the end of the segment and on into the interrupt
; table.

        times 510 db 0
        dw 0xaa55
