; expect: booted next-device
; sample: yes
; One HLT, ended by the next tick, then it boots: HLT is no end.

%include "common.inc"
        begin
        hlt
        boots
        finish
