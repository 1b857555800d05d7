; expect: inconclusive
; budget: 8
; INT 19h at once: the BIOS boots the same disk again, which calls INT 19h, for ever. The PC is
; not reset, it gets on, and it comes to nothing.

%include "common.inc"
        begin
        int 0x19
        finish
