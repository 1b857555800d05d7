"""Boot payloads: assembled from `images/payloads`, labelled, and laid on a disk image."""

from __future__ import annotations

from pathlib import Path

from harness.owner import disk, run_tool
from images.cache import digest, made

SOURCES = Path(__file__).parent / "payloads"
TEXT_OFFSET = 0x100
TEXT_SIZE = 0x80
DISK_SIZE = 1 << 20
"""Bytes. SeaBIOS takes media from one cylinder on; the partition table needs 2048 sectors."""

MARK = "bootgate: booted from "
"""How a payload's line on the debug port begins; the medium's label follows."""

MEDDLER = "meddler"
"""The label of images/payloads/meddler.asm, which says that it was booted when it is done."""


def assembled(name: str) -> bytes:
    """The machine code of `images/payloads/NAME.asm`. Raises ToolError, DiskFull, RigFault."""
    source = SOURCES / f"{name}.asm"

    def make(entry: Path) -> None:
        run_tool(["nasm", "-f", "bin", "-o", str(entry / "bin"), str(source)], package="nasm")

    entry = made("payload", digest([name, source]), make)
    with disk("a boot payload", "read"):
        return (entry / "bin").read_bytes()


def marker_sector(label: str) -> bytes:
    """512 bytes of boot sector that say "bootgate: booted from LABEL". Raises ToolError."""
    text = f"{MARK}{label}\n".encode("ascii")
    if len(text) >= TEXT_SIZE:
        raise ValueError(f"label too long: {label!r}")
    sector = bytearray(assembled("marker"))
    sector[TEXT_OFFSET : TEXT_OFFSET + len(text)] = text
    return bytes(sector)


def meddler() -> bytes:
    """What, booted from a CD-ROM, reads, writes and formats the PC's hard disks (MEDDLER).

    Raises ToolError, DiskFull.
    """
    return assembled("meddler")


def write_boot_disk(path: Path, label: str) -> None:
    """Write a disk image of `DISK_SIZE` bytes that boots the marker payload.

    Raises ToolError, DiskFull.
    """
    sector = marker_sector(label)
    with disk("a disk image"), open(path, "wb") as image:
        image.write(sector)
        image.truncate(DISK_SIZE)
