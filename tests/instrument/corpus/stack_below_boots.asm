; expect: booted next-device
; A closed loop that looks at memory below its stack, where nobody but an interrupt writes: the
; timer leaves its return address there, 91 times, and it boots. Not one handler is its own.

%include "common.inc"
        begin
        mov cx, TICKS_5S
.next:  mov dword [0x7bfa], 0
.wait:  cmp dword [0x7bfa], 0
        je .wait
        loop .next
        boots
        finish
