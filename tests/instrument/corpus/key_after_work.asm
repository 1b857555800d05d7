; expect: waiting
; Works for 3 s (reads the disk) and only then asks for a key, through INT 16h.

%include "common.inc"
        begin
        mov bp, 54
.next:  mov edi, [0x46c]
.read:  read_sectors 1, 1, 0x900
        cmp edi, [0x46c]
        je .read
        dec bp
        jnz .next
        show "Ready. Press any key"
        mov ah, 0
        int 0x16
        boots
        finish
