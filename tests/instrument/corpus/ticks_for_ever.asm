; expect: inconclusive
; budget: 8
; sample: yes
; Waits for a tick count that is never reached (a day has 1800B0h of them).

%include "common.inc"
        begin
.wait:  cmp dword [0x46c], 0x7fffffff
        jb .wait
        boots
        finish
