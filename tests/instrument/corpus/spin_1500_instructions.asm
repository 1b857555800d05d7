; expect: hung spinning
; A closed loop of 1500 instructions, interrupts on, in three sectors loaded from the disk.

%include "common.inc"
        begin
        read_sectors 1, 3, 0x800
        jmp 0x800:0
        finish
spin:
%rep 374
        inc ax
        inc bx
        dec ax
        dec bx
%endrep
        nop
        nop
        nop
        jmp spin
        times 2048 - ($ - $$) db 0
