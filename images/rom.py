"""Option ROMs: assembled from `images/roms`, padded, and given their size and checksum."""

from __future__ import annotations

from pathlib import Path

from harness.owner import disk, run_tool
from images.cache import digest, made

SOURCES = Path(__file__).parent / "roms"

ROMS = ("blind", "strict")
"""What there is: `images/roms/NAME.asm` says what each does."""

BLOCK = 512
"""A ROM's size is in units of so many bytes (SeaBIOS, src/optionroms.c, is_valid_rom)."""

SIZE_OFFSET = 2


def option_rom(name: str) -> Path:
    """The file of the option ROM `name`, one of `ROMS`, for QEMU's -option-rom.

    It is in the cache. Raises ToolError, DiskFull, RigFault.
    """
    source = SOURCES / f"{name}.asm"

    def make(entry: Path) -> None:
        file = entry / f"{name}.rom"  # so it is called in the BIOS's list, too
        run_tool(
            ["nasm", "-f", "bin", "-I", f"{SOURCES}/", "-o", str(file), str(source)],
            package="nasm",
        )
        with disk("an option ROM"):
            file.write_bytes(finished(file.read_bytes()))

    key = digest([Path(__file__), name, source, *sorted(SOURCES.glob("*.inc"))])
    return made("rom", key, make) / f"{name}.rom"


def finished(code: bytes) -> bytes:
    """Machine code as a ROM: whole blocks, their number in byte 2, and a sum of 0 modulo 256.

    SeaBIOS leaves out a ROM whose sum is another (src/optionroms.c, is_valid_rom).
    """
    blocks = len(code) // BLOCK + 1  # at least one byte is left for the checksum
    rom = bytearray(code.ljust(blocks * BLOCK, b"\0"))
    rom[SIZE_OFFSET] = blocks
    rom[-1] = -sum(rom[:-1]) & 0xFF
    return bytes(rom)
