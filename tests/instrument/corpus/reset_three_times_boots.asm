; expect: booted next-device
; Resets the PC three times, as an installer does between its stages, and boots then. The count
; is in an unused byte of the CMOS memory (60h), and the log tells how far it is.

%include "common.inc"
        begin
        cmos_read 0x60
        inc al
        mov bl, al
        cmos_write 0x60, bl
        cmp bl, 4
        jae .boot
        add bl, "0"
        mov [.stage], bl
        call debug_print
        db "installer: stage "
.stage: db "0", 10, 0
        wait_ticks 9
        mov al, 0xfe
        out 0x64, al
.wait:  jmp .wait
.boot:  boots
        finish
