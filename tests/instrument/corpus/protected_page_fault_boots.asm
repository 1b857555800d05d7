; expect: booted next-device
; Paging on, 4 MiB mapped. A closed loop reads one page after the other, with a pause at each;
; after about 5 s it reads past the last one, and the handler of the page fault boots.

%include "common.inc"
        begin
        calibrate
        imul ebx, ebx, 23
        shr ebx, 10             ; there are 1024 pages
        inc ebx
        protected
        empty_idt
        gate 14, missing
        mov edi, 0x10000        ; the directory, its only table, and the pages in that
        mov ecx, 0x400
        xor eax, eax
        rep stosd
        mov dword [0x10000], 0x11003
        mov eax, 3
.page:  stosd
        add eax, 0x1000
        cmp eax, 0x400003
        jne .page
        mov eax, 0x10000
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        xor esi, esi
.read:  mov al, [esi]
        add esi, 0x1000
        mov edx, ebx
.pause: mov ecx, 65536
.count: dec ecx
        jnz .count
        dec edx
        jnz .pause
        jmp .read
missing:
        boots32
        finish
