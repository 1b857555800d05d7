; expect: hung spinning
; sample: yes
; A spin lock that is taken already, and that nobody is there to free: LOCK XCHG finds 1 and
; writes 1.

%include "common.inc"
        begin
.spin:  mov al, 1
        lock xchg [taken], al
        test al, al
        pause
        jnz .spin
        boots
taken:  db 1
        finish
