"""What was never code: memory that a processor executes only when it has run wild."""

from __future__ import annotations

import re

from harness.observation import PAGE, Frozen, Handover
from harness.outcome.future import (
    ADAPTER,
    BIOS,
    BIOS_END,
    CHANGES_ITSELF,
    CLOSED,
    IRET,
    OVER_THE_EDGE,
    UNSEEN_END,
    Block,
    future,
)
from harness.outcome.outside import EBDA_SEGMENT, interrupts_could_end

TABLES_END = 0x500
"""End of the interrupt vectors and the BIOS data area."""

EBDA_LOWEST = 0x80000
"""The BIOS's extended data area is at the end of conventional memory, far above this."""

_SAME = re.compile(rb"\A(\x00+|\xff+)\Z")
_TEXT = re.compile(rb"[\t\n\r -~]{24,}")
_LETTERS = 10
"""So much text in a row, of so many different characters, is no code by chance: INC and DEC have
letters' codes, and fill memory in a delay."""

_NEARLY_ZERO = 7 / 8
"""So much of a long block is zero only in memory that nobody filled, but for a byte here and there
that something left. In programs it is a quarter."""

MANY = 64
"""A runaway that is not seen to close has executed at least so many instructions, none of them
code."""


def never_code(block: Block, frozen: Frozen, handover: Handover | None) -> bool:
    """Whether what `block` executes was put there by nobody, or not to be executed.

    Zeros and FFh, as fresh memory has them; the interrupt vectors as the BIOS set them, and
    its data areas; text.
    """
    start, end = block.linear, block.linear + len(block.code)
    if _SAME.match(block.code) or (len(block.code) >= MANY and fresh(block.code)):
        return True
    if end <= TABLES_END:
        return handover is not None and block.code == handover.tables[start:end]
    if handover is not None:
        # As the BIOS had it: an operating system may use the word for something else.
        ebda = int.from_bytes(handover.tables[EBDA_SEGMENT : EBDA_SEGMENT + 2], "little") * 16
        if EBDA_LOWEST <= ebda <= start < ADAPTER:
            return True
    pages, page, place = frozen.pages(), start & ~(PAGE - 1), start & (PAGE - 1)
    # A block may go on in the next page.
    there = pages.get(page, b"") + pages.get(page + PAGE, b"")
    around = (m.span() for m in _TEXT.finditer(there) if len(set(m[0])) >= _LETTERS)
    return any(a <= place and place + len(block.code) <= b for a, b in around)


def fresh(code: bytes) -> bool:
    """Whether that is memory which nobody filled, but for a byte here and there."""
    return code.count(0) >= len(code) * _NEARLY_ZERO


def code_at(frozen: Frozen) -> bytes:
    """The next instruction and what follows it, as a `CpuSample` has it; b"?" if not recorded."""
    page, place = frozen.linear & ~(PAGE - 1), frozen.linear & (PAGE - 1)
    return frozen.pages().get(page, b"")[place : place + 16] or b"?"


def runs_wild(frozen: Frozen, handover: Handover | None) -> bool:
    """Whether all that the processor executes from here on was never code.

    It may bounce off the BIOS's bare IRET, which answers the invalid opcodes that it stumbles
    over. Interrupts come and go, as long as their handlers are the BIOS's.
    """
    if frozen.mode in (Frozen.REAL, Frozen.FLAT_32) and ADAPTER <= _place(frozen) < BIOS:
        return True
    if frozen.mode == Frozen.REAL and frozen["EIP"] > 0xFFFF:
        return True  # a PC's processor has an exception there, QEMU runs on
    ahead = future(frozen)
    far = ahead.instructions >= MANY
    long = (ahead.end in (UNSEEN_END, CHANGES_ITSELF) and far) or (
        ahead.end == OVER_THE_EDGE and (far or _behind_zeros(frozen))
    )
    if not (ahead.end == CLOSED or long):
        return False
    blocks = [b for b in ahead.blocks if not _bare_iret(b)]
    if not blocks or not all(
        b.linear in ahead.undefined or never_code(b, frozen, handover) for b in blocks
    ):
        return False
    return not interrupts_could_end(frozen, handover)


def _place(frozen: Frozen) -> int:
    """Where it executes: at the BIOS's bare IRET, where that leads."""
    if not (frozen.mode == Frozen.REAL and BIOS <= frozen.linear < BIOS_END):
        return frozen.linear
    top = frozen["SS"] * 16 + (frozen["ESP"] & 0xFFFF)
    page, place = top & ~(PAGE - 1), top & (PAGE - 1)
    stack = frozen.pages().get(page, b"")[place : place + 4]
    if code_at(frozen)[0] != IRET or len(stack) < 4:
        return frozen.linear
    return int.from_bytes(stack[2:], "little") * 16 + int.from_bytes(stack[:2], "little")


def _behind_zeros(frozen: Frozen) -> bool:
    """Whether all before the next instruction is zeros, as many as would be enough ahead of it."""
    page, place = frozen.linear & ~(PAGE - 1), frozen.linear & (PAGE - 1)
    return place >= 2 * MANY and not any(frozen.pages().get(page, b"?")[place - 2 * MANY : place])


def _bare_iret(block: Block) -> bool:
    return BIOS <= block.linear < BIOS_END and block.code[:1] == bytes([IRET])
