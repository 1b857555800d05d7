"""Frozen states of a processor, made by hand: a small program in the memory of a PC."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.observation import PAGE, REGISTERS, Frozen, Handover
from harness.owner import run_tool

ORIGIN = 0x7C00
STACK = 0x6F00
DATA = 0x6000
IF = 0x200
LINES = 0x7143
"""What SeaBIOS lets in: timer, keyboard, diskette, clock, mouse, coprocessor, disk."""
RAM = 64 << 20
IRET_AT = 0xFFF53
"""Where SeaBIOS's bare IRET is, to which all vectors point here: F000:FF53."""
EBDA = 0x9FC00
LETTERS = (b"PQRSUVW@ABCEFG" * 3000)[:0x9400]
"""Text that is executed without an end: PUSH and INC, up to the end of 64 KiB from 7C00h on."""


@functools.cache
def assembled(source: str, origin: int = ORIGIN, bits: int = 16) -> bytes:
    """The machine code of a program."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = f"bits {bits}\norg {origin:#x}\n{source}\n"
        (folder / "source").write_text(text, encoding="ascii")
        argv = ["nasm", "-f", "bin", "-o", str(folder / "bin"), str(folder / "source")]
        run_tool(argv, package="nasm")
        return (folder / "bin").read_bytes()


def memory(*pieces: Mapping[int, bytes]) -> dict[int, bytes]:
    """Pages, by address: a PC's as its BIOS leaves them, and `pieces` of bytes laid over them."""
    laid: dict[int, bytes] = {
        0: b"\x53\xff\x00\xf0" * 256,
        0x40E: (EBDA >> 4).to_bytes(2, "little"),
        DATA: bytes(PAGE),
        IRET_AT: b"\xcf",
    }
    pages: dict[int, bytearray] = {}
    for piece in (laid, *pieces):
        for start, data in piece.items():
            at, end = start, start + len(data)
            while at < end:
                upto = min(end, (at | PAGE - 1) + 1)
                page = pages.setdefault(at & -PAGE, bytearray(PAGE))
                page[at % PAGE : at % PAGE + upto - at] = data[at - start : upto - start]
                at = upto
    return {address: bytes(page) for address, page in pages.items()}


def frozen(
    program: str | bytes = "",
    *pieces: Mapping[int, bytes],
    at: float = 0.0,
    origin: int = ORIGIN,
    mode: str = Frozen.REAL,
    halted: bool = False,
    flags: int = 0,
    lines: int = LINES,
    remapped: bool = False,
    others: bool = False,
    ram: int = RAM,
    **registers: int,
) -> Frozen:
    """The processor at the beginning of `program`, in assembly language or as bytes.

    `pieces` of memory are recorded besides. Interrupts are off unless `flags` say otherwise.
    """
    if isinstance(program, str):
        program = assembled(program, origin, 32 if mode == Frozen.FLAT_32 else 16)
    values = dict.fromkeys(REGISTERS, 0) | {"EIP": origin, "EFLAGS": flags | 2, "ESP": STACK}
    values |= registers
    return Frozen(
        at,
        tuple(values.values()),
        mode,
        halted,
        lines,
        remapped,
        others,
        ram,
        Frozen.packed(memory({origin: program}, *pieces)),
    )


def handover(sector: bytes = bytes(512), drive: int = 0x80, at: float = 0.0) -> Handover:
    """The BIOS's tables as `memory` has them."""
    return Handover(at, drive, sector, memory()[0][:0x500])
