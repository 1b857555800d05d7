; expect: booted next-device
; A delay of about 5 s by calls within calls, with pushes and pops: the counter is on the stack
; most of the time.

%include "common.inc"
        begin
        calibrate
        imul ebp, ebx, 23
.next:  push ebp
        call rest
        pop ebp
        dec ebp
        jnz .next
        boots
rest:   push ecx
        call unit
        pop ecx
        ret
        finish
