; Option ROM: a BIOS that halts for good when the first hard disk's sector 0 lacks 55AA, as the
; ASRock board of NanoKVM's PR 741 does; with 55AA it boots as any other.
;
; Halted: HLT with interrupts off. The keyboard is dead, for its interrupt is never taken, and
; with it Ctrl-Alt-Del, which is the BIOS's own doing (SeaBIOS, src/kbd.c, __process_key).

%define NAME "strict"
%include "int19.inc"

loaded: cmp word [es:SECTOR + 510], 0xaa55
        jne halt
        mov si, booting
        call say
        jmp enter_sector

; The log is told last: who reads the line there knows that the keyboard is dead already.
halt:   mov si, unsigned
        call show
        cli
        call log
.halt:  hlt
        jmp .halt

unsigned:
        db NAME, ": no 55AA on hard disk 80h, halting", 10, 0
