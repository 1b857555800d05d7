"""What a host does with a drive that no check asks for by itself: it holds it, and writes to it."""

from __future__ import annotations

import struct

from harness.probe.bulk_only import PASSED, Drive
from harness.probe.checks import READ_CAPACITY, must

LOCK = bytes((0x1E, 0, 0, 0, 1, 0))
"""PREVENT ALLOW MEDIUM REMOVAL, prevented (SPC-4, 6.15)."""

WRITES = {
    "WRITE(6)": (0x0A, ">BBHBB"),
    "WRITE(10)": (0x2A, ">BBIBHB"),
    "WRITE(12)": (0xAA, ">BBIIBB"),
}
"""Operation code, and how the command block is laid out (SBC-3, 5.32, 5.34, 5.36)."""


def lock(drive: Drive) -> None:
    """Have the drive keep its medium. Raises Misbehaved when it refuses."""
    drive.settle()
    must(drive.ask(LOCK).status == PASSED, "PREVENT ALLOW MEDIUM REMOVAL failed")


def try_writes(drive: Drive) -> list[str]:
    """Write to the first, a middle and the last block by every command; those that passed.

    Such as "WRITE(10) of block 0". Raises Misbehaved when the drive has no capacity.
    """
    drive.settle()
    reply = drive.ask(READ_CAPACITY, 8)
    must(reply.status == PASSED, "READ CAPACITY(10) failed")
    must(len(reply.data) == 8, f"READ CAPACITY(10) gave {len(reply.data)} bytes")
    last, size = struct.unpack(">II", reply.data)
    passed = []
    for name, (operation, layout) in WRITES.items():
        for lba in (0, last // 2, last):
            fields = (0, lba, 1, 0) if name == "WRITE(6)" else (0, lba, 0, 1, 0)
            fields = (0, lba, 1, 0, 0) if name == "WRITE(12)" else fields
            cdb = struct.pack(layout, operation, *fields)
            data = b"\xa5" * size
            if drive.ask(cdb, size, to_host=False, data=data).status == PASSED:
                passed.append(f"{name} of block {lba}")
    return passed
