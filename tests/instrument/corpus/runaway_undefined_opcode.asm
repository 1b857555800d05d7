; expect: hung runaway
; sample: yes
; UD2, and no handler but the BIOS's: a bare IRET returns to it, and it is raised again, for
; ever.

%include "common.inc"
        begin
        say "loader: processor not supported"
        ud2
        boots
        finish
