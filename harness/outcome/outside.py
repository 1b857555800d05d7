"""Who could end what the processor does, from outside: interrupts, and what they and devices write.

The look ahead (`harness.outcome.future`) knows the processor alone. On a PC interrupts come,
handlers write to memory, and devices do. This module says whether that could change anything;
when in doubt it says yes, and nothing is proven.
"""

from __future__ import annotations

from harness.observation import PAGE, Frozen, Handover
from harness.outcome.future import ADAPTER, BIOS, BIOS_END, future

BIOS_DATA, BIOS_DATA_END = 0x400, 0x500
EBDA_SEGMENT = 0x40E
"""Where the BIOS keeps the segment of its extended data area, which ends at A0000h."""

RTC_WAIT = 0x4A0
"""Bit 0: INT 15h AH=83h is to write to the caller's memory when its time is up."""

BIOS_ONLY_READ = 0xF0000
"""From here on is what SeaBIOS locks when it is done (src/fw/shadow.c, make_bios_readonly)."""

BIOS_HEAP = 512 * 1024
"""At the end of RAM: SeaBIOS's own memory, which its USB controllers write to, too
(src/malloc.c, BUILD_MAX_HIGHTABLE is half of that)."""

HANDLERS_STACK = 512
"""What the BIOS's interrupt handlers may use of the stack that they come upon."""

_OF_KEYS = (0x05, 0x15, 0x1B)
CALLED_BY_HANDLERS = {0: (0x1C, *_OF_KEYS), 1: _OF_KEYS, 8: (0x4A,), 9: (0x0A,), 13: (0x02,)}
"""What the BIOS calls from within the handler of an interrupt line: the user's timer tick; print
screen, the keyboard hook and break; the alarm; line 2 of the PC; the NMI, of the coprocessor.
IBM PC/AT Technical Reference, section 5. SeaBIOS takes USB keyboards' keys at the timer tick
(src/clock.c, clock_update)."""

SPURIOUS = (0x0F, 0x77)
"""What an interrupt controller gives when a line that it let in is low again (Intel 8259A)."""


def _vectors(lines: int) -> list[int]:
    """The interrupt vectors that may be used while those lines are let in."""
    used = list(SPURIOUS)
    for line in range(16):
        if lines >> line & 1:
            used.append(8 + line if line < 8 else 0x70 + line - 8)
            used.extend(CALLED_BY_HANDLERS.get(line, ()))
    return used


def could_end(frozen: Frozen, handover: Handover | None) -> str:
    """Who could end the loop ahead of `frozen`, in words; "" when nobody can."""
    ahead = future(frozen)
    # Of the BIOS nothing but a bare IRET is executed, which nobody writes.
    code = {(b.linear, len(b.code)) for b in ahead.blocks if not BIOS <= b.linear < BIOS_END}
    reads = ahead.reads | code
    ebda = int.from_bytes(_first_page(frozen)[EBDA_SEGMENT : EBDA_SEGMENT + 2], "little") * 16
    written_by_devices = [
        (ebda, ADAPTER),
        (BIOS, BIOS_ONLY_READ),
        (frozen.ram - BIOS_HEAP, frozen.ram),
    ]
    for start, end in written_by_devices:
        if _reads(reads, start, end):
            return f"what devices and the BIOS write between {start:#x} and {end:#x}"
    if ahead.interruptible and frozen.lines:
        if _reads(reads, BIOS_DATA, BIOS_DATA_END):
            return "what the BIOS's interrupt handlers write into its data area"
        if _reads(reads, ahead.stack - HANDLERS_STACK, ahead.stack):
            return "what interrupt handlers leave below the stack"
    return interrupts_could_end(frozen, handover)


def interrupts_could_end(frozen: Frozen, handover: Handover | None) -> str:
    """Whose interrupt handler could do so by not coming back, in words; "" when none can."""
    if frozen.others:
        return "an interrupt of an APIC"
    if not future(frozen).interruptible or not frozen.lines:
        return ""
    if frozen.mode != Frozen.REAL or frozen.remapped:
        return "an interrupt handler of its own"
    if handover is None:
        return "an interrupt handler: nobody knows which are the BIOS's"
    memory = _first_page(frozen)
    for vector in _vectors(frozen.lines):
        place = slice(vector * 4, vector * 4 + 4)
        if memory[place] != handover.tables[place]:
            return f"the handler of interrupt {vector:02X}h, which is not the BIOS's"
    if memory[RTC_WAIT] & 1:
        return "INT 15h AH=83h, which writes to memory when its time is up"
    return ""


def _first_page(frozen: Frozen) -> bytes:
    return frozen.pages().get(0, bytes(PAGE))


def _reads(reads: frozenset[tuple[int, int]], start: int, end: int) -> bool:
    return any(address < end and address + size > start for address, size in reads)
