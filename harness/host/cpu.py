"""The host's processor and next device, looked at while it is stopped for a moment."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import QemuError
from harness.observation import CpuSample
from harness.qemu import Qemu

CODE_BYTES = 16
"""An x86 instruction is at most 15 bytes long (Intel SDM 2, 2.3.11)."""


STACK_BYTES = 6
"""What an interrupt pushes in real mode: IP, CS, FLAGS (Intel SDM 2, INT n)."""


@dataclass(frozen=True, slots=True)
class Registers:
    """What `CpuSample` needs, without its moment; `stack_top` is a linear address."""

    cs: int
    ip: int
    linear: int
    flags: int
    halted: bool
    real_mode: bool
    stack_top: int


def registers(text: str) -> Registers:
    """Read the output of the monitor's "info registers".

    The layout is that of QEMU's target/i386/cpu-dump.c. Raises QemuError when something
    that is needed is not there.
    """

    def field(pattern: str) -> int:
        found = re.search(pattern, text)
        if found is None:
            raise QemuError(f"QEMU's register dump has no {pattern!r}: {text[:80]!r}")
        return int(found[1], 16)

    ip = field(r"[ER]IP=([0-9a-f]+)")
    real_mode = field(r"CR0=([0-9a-f]+)") & 1 == 0
    stack_pointer = field(r"[ER]SP=([0-9a-f]+)") & (0xFFFF if real_mode else -1)
    return Registers(
        cs=field(r"CS =([0-9a-f]+)"),
        ip=ip,
        linear=field(r"CS =[0-9a-f]+ ([0-9a-f]+)") + ip,
        flags=field(r"[ER]FL=([0-9a-f]+)"),
        halted=field(r"HLT=(\d)") == 1,
        real_mode=real_mode,
        stack_top=field(r"SS =[0-9a-f]+ ([0-9a-f]+)") + stack_pointer,
    )


def sample(qemu: Qemu) -> tuple[Callable[[float], CpuSample], tuple[int, int]]:
    """Stop the host, read registers, code and the next device's operations, let it run on.

    It has to be stopped: a running TCG processor writes its instruction pointer back only
    now and then. The guest's clocks stop with it. Returns the observation, to be given its
    moment, and the reads and writes of the next device so far. Raises QemuError,
    DeadlineExpired.
    """
    qemu.execute("stop")
    seen = registers(qemu.monitor("info registers"))
    code = _bytes(qemu, seen.linear, CODE_BYTES)
    stack = _bytes(qemu, seen.stack_top, STACK_BYTES)
    stats = qemu.execute("query-blockstats")
    qemu.execute("cont")
    disk = next(s["stats"] for s in stats if s.get("node-name") == "next-device")

    def observed(at: float) -> CpuSample:
        return CpuSample(
            at=at,
            cs=seen.cs,
            ip=seen.ip,
            linear=seen.linear,
            flags=seen.flags,
            halted=seen.halted,
            real_mode=seen.real_mode,
            code=code,
            stack=stack,
        )

    return observed, (int(disk["rd_operations"]), int(disk["wr_operations"]))


def _bytes(qemu: Qemu, address: int, count: int) -> bytes:
    """Memory at a linear address; shorter where nothing is mapped."""
    dump = qemu.monitor(f"x /{count}xb {address:#x}")
    return bytes(int(digits, 16) for digits in re.findall(r"0x([0-9a-f]{2})\b", dump))
