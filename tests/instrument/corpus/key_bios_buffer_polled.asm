; expect: waiting
; budget: 15
; Waits until head and tail of the BIOS's keyboard buffer (40:1A, 40:1C) differ, which the
; handler of the keyboard's interrupt brings about; then takes the key and boots.

%include "common.inc"
        begin
        show "Press any key"
.poll:  mov ax, [0x41a]
        cmp ax, [0x41c]
        je .poll
        mov ah, 0
        int 0x16
        boots
        finish
