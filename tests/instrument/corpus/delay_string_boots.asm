; expect: booted next-device
; A delay of about 5 s by REP LODSB: nothing is written, and CX and SI run through the same
; values again and again; a register that only the outer loop has counts.

%include "common.inc"
        begin
        mov eax, [0x46c]        ; a pass is measured, as `calibrate` does
.edge:  cmp eax, [0x46c]
        je .edge
        xor ebp, ebp
        mov dx, 4
.tick:  mov eax, [0x46c]
.more:  push eax
        call pass
        pop eax
        inc ebp
        cmp eax, [0x46c]
        je .more
        dec dx
        jnz .tick
        imul ebp, ebp, 23
        cli
.next:  call pass
        dec ebp
        jnz .next
        boots
pass:   mov cx, 4096
        mov si, 0x8000
        rep lodsb
        ret
        finish
