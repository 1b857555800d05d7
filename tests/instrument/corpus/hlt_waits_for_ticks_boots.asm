; expect: booted next-device
; A HLT loop that compares the BIOS's tick count at 40:6C with the one at which it goes on, 5 s
; later.

%include "common.inc"
        begin
        mov bx, TICKS_5S
.next:  mov eax, [0x46c]
.idle:  hlt
        cmp eax, [0x46c]
        je .idle
        dec bx
        jnz .next
        boots
        finish
