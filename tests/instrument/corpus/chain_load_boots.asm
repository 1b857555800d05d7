; expect: booted next-device
; sample: yes
; Moves itself to 0000:0600, loads the second sector to 0000:7C00, looks at its signature and
; jumps to it: what every partitioned disk does. The second sector boots.

%include "common.inc"
        begin
        mov si, 0x7c00
        mov di, 0x600
        mov cx, 256
        rep movsw
        jmp 0:moved - 0x7600
moved:  mov si, 0x600 + packet - 0x7c00
        mov ah, 0x42
        mov dl, 0x80
        int 0x13
        cmp word [0x7dfe], 0xaa55
        jne .none
        jmp 0:0x7c00
.none:  int 0x18
packet: dw 16, 1, 0x7c00, 0
        dq 1
        finish
section second vstart=0x7c00 follows=.text align=1
%define debug_print second_print
        boots
        finish
