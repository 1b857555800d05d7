; expect: hung halted
; The boot sector loads the next one and jumps to it; it is that one which stops with interrupts
; off. The code at which the PC stands came from LBA 1.

%include "common.inc"
        begin
        read_sectors 1, 1, 0x800
        jmp 0x800:0
        finish
        cli
.stop:  hlt
        jmp .stop
        times 1024 - ($ - $$) db 0
