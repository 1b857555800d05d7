"""What a host does with a drive that no check asks for by itself: it holds it, and writes to it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from harness.observation import SECTOR
from harness.probe.bulk_only import PASSED, Drive
from harness.probe.checks import last_and_size, must, read_10, write_10

LOCK = bytes((0x1E, 0, 0, 0, 1, 0))
"""PREVENT ALLOW MEDIUM REMOVAL, prevented (SPC-4, 6.15)."""

WRITES: dict[str, Callable[[int], bytes]] = {
    "WRITE(6)": lambda lba: struct.pack(">IBB", 0x0A000000 | lba, 1, 0),
    "WRITE(10)": lambda lba: write_10(lba, 1),
    "WRITE(12)": lambda lba: struct.pack(">BBIIBB", 0xAA, 0, lba, 1, 0, 0),
}
"""The command block for one block (SBC-3, 5.32, 5.34, 5.36)."""

READS: dict[str, Callable[[int], bytes]] = {
    "READ(6)": lambda lba: struct.pack(">IBB", 0x08000000 | lba, 1, 0),
    "READ(10)": lambda lba: read_10(lba, 1),
    "READ(12)": lambda lba: struct.pack(">BBIIBB", 0xA8, 0, lba, 1, 0, 0),
}
"""Likewise (SBC-3, 5.11, 5.8, 5.13)."""

MEDDLED_WITH = b"MEDDLED WITH"
"""How every sector begins that is written here, and by images/payloads/meddler.asm."""

MEDDLED = MEDDLED_WITH + b" OVER SCSI"

LAST_OF_WRITE_6 = 0x1FFFFF
"""The highest block that WRITE(6) has room for."""

BLOCK_SIZES = (512, 1024, 2048, 4096)
"""Bytes that a block of a disk or of a CD-ROM can have."""


def lock(drive: Drive) -> None:
    """Have the drive keep its medium. Raises Misbehaved when it refuses."""
    drive.settle()
    must(drive.ask(LOCK).status == PASSED, "PREVENT ALLOW MEDIUM REMOVAL failed")


def try_everywhere(drive: Drive, places: Sequence[int]) -> None:
    """Read, then write, one block of 512 bytes at each of these blocks of each LUN.

    Whatever the drive says of its capacity. What came of it is seen on the wire. Raises Misbehaved
    when it does not keep to the transport.
    """
    few = (places[0], places[len(places) // 2], places[-1])
    for lun in drive.luns():
        drive.settle(lun)
        for name, command in {**READS, **WRITES}.items():
            reads = name in READS
            data = b"" if reads else MEDDLED.ljust(SECTOR)
            for lba in places if name.endswith("(10)") else few:
                if not (name.endswith("(6)") and lba > LAST_OF_WRITE_6):
                    drive.ask(command(lba), SECTOR, to_host=reads, data=data, lun=lun)


def try_writes(drive: Drive) -> list[str]:
    """Write to the first, a middle and the last block by every command; those that passed.

    Such as "WRITE(10) of block 0". Raises Misbehaved when the drive has no capacity.
    """
    drive.settle()
    last, size = last_and_size(drive)
    must(size in BLOCK_SIZES, f"its blocks have {size} bytes")
    passed = []
    for name, command in WRITES.items():
        for lba in (0, last // 2, last):
            if name == "WRITE(6)" and lba > LAST_OF_WRITE_6:
                continue
            reply = drive.ask(command(lba), size, to_host=False, data=b"\xa5" * size)
            if reply.status == PASSED:
                passed.append(f"{name} of block {lba}")
    return passed
