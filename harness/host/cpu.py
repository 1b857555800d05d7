"""The host's processor and next device, looked at while it is stopped for a moment."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.errors import QemuError
from harness.qemu import Qemu

CODE_BYTES = 16
"""An x86 instruction is at most 15 bytes long (Intel SDM 2, 2.3.11)."""


@dataclass(frozen=True, slots=True)
class Registers:
    """What `CpuSample` needs, without its moment."""

    cs: int
    ip: int
    linear: int
    flags: int
    halted: bool
    real_mode: bool
    code: bytes


def registers(text: str) -> Registers:
    """Read the output of the monitor's "info registers"; `code` stays empty.

    The layout is that of QEMU's target/i386/cpu-dump.c. Raises QemuError when something
    that is needed is not there.
    """

    def field(pattern: str) -> int:
        found = re.search(pattern, text)
        if found is None:
            raise QemuError(f"QEMU's register dump has no {pattern!r}: {text[:80]!r}")
        return int(found[1], 16)

    base = field(r"CS =[0-9a-f]+ ([0-9a-f]+)")
    ip = field(r"[ER]IP=([0-9a-f]+)")
    return Registers(
        cs=field(r"CS =([0-9a-f]+)"),
        ip=ip,
        linear=base + ip,
        flags=field(r"[ER]FL=([0-9a-f]+)"),
        halted=field(r"HLT=(\d)") == 1,
        real_mode=field(r"CR0=([0-9a-f]+)") & 1 == 0,
        code=b"",
    )


def look(qemu: Qemu) -> tuple[Registers, tuple[int, int]]:
    """Stop the host, read registers, code and the next device's operations, let it run on.

    It has to be stopped: a running TCG processor writes its instruction pointer back only
    now and then. The guest's clocks stop with it. Returns the registers, and the reads and
    writes of the next device so far. Raises QemuError, DeadlineExpired.
    """
    qemu.execute("stop")
    seen = registers(qemu.monitor("info registers"))
    dump = qemu.monitor(f"x /{CODE_BYTES}xb {seen.linear:#x}")
    stats = qemu.execute("query-blockstats")
    qemu.execute("cont")
    code = bytes(int(digits, 16) for digits in re.findall(r"0x([0-9a-f]{2})\b", dump))
    disk = next(s["stats"] for s in stats if s.get("node-name") == "next-device")
    return (
        Registers(
            cs=seen.cs,
            ip=seen.ip,
            linear=seen.linear,
            flags=seen.flags,
            halted=seen.halted,
            real_mode=seen.real_mode,
            code=code[:CODE_BYTES],
        ),
        (int(disk["rd_operations"]), int(disk["wr_operations"])),
    )
