"""Where a hung processor is, who put there what it executes, and what happened last."""

from __future__ import annotations

from collections.abc import Sequence

import capstone

from harness.cable.scsi import read_blocks
from harness.observation import (
    PAGE,
    BiosLine,
    DiskIo,
    Frozen,
    Handover,
    Observation,
    ScsiCommand,
    ScsiReply,
)
from harness.outcome.future import BIOS, BIOS_END, HLT, IRET
from harness.outcome.kinds import Last, Where
from harness.outcome.wire import sector_of

BOOT_SECTOR, SECTOR = 0x7C00, 512
SYSTEM_ROM = 0xE0000
"""From here on it is the BIOS, below that option ROMs (SeaBIOS, src/config.h)."""

INSTRUCTIONS = 6
CLUE = 12
"""So many bytes in a row are found in a sector by chance only if they are all alike."""


def where(frozen: Frozen, handover: Handover | None, stream: Sequence[Observation]) -> Where:
    """Where the processor is: of a halted one, at its HLT.

    At the BIOS's bare IRET, with which it answers what it does not know, what counts is where
    that leads.
    """
    pages = frozen.pages()
    cs, ip, linear = frozen["CS"], frozen["EIP"], frozen.linear
    if frozen.halted and _memory(pages, linear - 1, 1) == bytes([HLT]):
        ip, linear = ip - 1, linear - 1
    elif frozen.mode == Frozen.REAL and SYSTEM_ROM <= linear < BIOS_END:
        stack = _memory(pages, frozen["SS"] * 16 + (frozen["ESP"] & 0xFFFF), 4)
        if _memory(pages, linear, 1) == bytes([IRET]) and len(stack) == 4:
            ip, cs = int.from_bytes(stack[:2], "little"), int.from_bytes(stack[2:], "little")
            linear = cs * 16 + ip
    code = _memory(pages, linear, 64)
    return Where(
        cs=cs,
        ip=ip,
        listing=_listing(code, ip, wide=frozen.mode == Frozen.FLAT_32),
        origin=_origin(linear, code, handover, stream),
    )


def _memory(pages: dict[int, bytes], start: int, count: int) -> bytes:
    """Bytes from `start` on, as far as they were recorded."""
    data = b""
    while len(data) < count:
        at = start + len(data)
        page = pages.get(at & ~(PAGE - 1), b"")[at & (PAGE - 1) :]
        if not page:
            break
        data += page
    return data[:count]


def _listing(code: bytes, ip: int, *, wide: bool) -> tuple[str, ...]:
    """The first instructions, a line each: address, bytes, words."""
    mode = capstone.CS_MODE_32 if wide else capstone.CS_MODE_16
    lines = []
    decoder = capstone.Cs(capstone.CS_ARCH_X86, mode)
    for address, size, mnemonic, operands in decoder.disasm_lite(code, ip, INSTRUCTIONS):
        shown = code[address - ip : address - ip + size].hex(" ")
        lines.append(f"{address:04X}  {shown:<20}  {mnemonic} {operands}".rstrip())
    if not lines and code:
        lines.append(f"{ip:04X}  {code[:8].hex(' '):<20}  no instruction")
    return tuple(lines)


def _origin(
    linear: int, code: bytes, handover: Handover | None, stream: Sequence[Observation]
) -> str:
    """Who put that code there, in words."""
    if SYSTEM_ROM <= linear < BIOS_END:
        return "the BIOS"
    if BIOS <= linear < SYSTEM_ROM:
        return "an option ROM"
    if linear < 0x400:
        tables = handover.tables if handover is not None else b""
        if tables[linear : linear + 4] == code[:4]:
            return "nobody: it is the table of interrupt vectors"
    elif linear < 0x500:
        return "nobody: it is the BIOS's data area"
    if handover is not None:
        lba = sector_of(stream, handover.sector)
        drive = f"of drive {handover.drive:02X}h"
        drive += " (the PC's own)" if lba is None else f" (the USB drive, LBA {lba})"
        offset = linear - BOOT_SECTOR
        if 0 <= offset < SECTOR:
            part = code[: SECTOR - offset]
            if part and handover.sector[offset : offset + len(part)] == part:
                return f"the boot sector {drive}, at byte {offset}"
        clue = code[:CLUE]
        if len(set(clue)) > 1 and len(clue) == CLUE and clue in handover.sector:
            return f"copied from the boot sector {drive}, byte {handover.sector.index(clue)}"
    if code and not any(code):
        return "nobody: memory full of zeros"
    return "not known: it is not part of the boot sector"


def last_seen(stream: Sequence[Observation]) -> Last:
    """The last BIOS message, disk read and SCSI command."""
    bios = disk = scsi = ""
    for seen in stream:
        match seen:
            case BiosLine(text=text) if text.strip():
                bios = text.strip()
            case DiskIo(reads=reads):
                disk = f"next device, read number {reads}"
            case ScsiCommand(name=name, cdb=cdb):
                scsi = f"{name}, not answered"
                if blocks := read_blocks(cdb):
                    disk = f"USB drive, LBA {blocks.lba}"
            case ScsiReply(name=name, status=status):
                scsi = f"{name}, {status}"
    return Last(bios, disk, scsi)
