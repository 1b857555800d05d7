"""The host's processor, looked at while it is stopped for a moment."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from harness.errors import QemuError
from harness.host.memory import GuestMemory
from harness.observation import PAGE, REGISTERS, CpuSample, Frozen
from harness.qemu import Qemu

CODE_BYTES = 16
"""An x86 instruction is at most 15 bytes long (Intel SDM 2, 2.3.11)."""

STACK_BYTES = 6
"""What an interrupt pushes in real mode: IP, CS, FLAGS (Intel SDM 2, INT n)."""

TICKS = 0x46C
"""The BIOS's count of timer interrupts, a double word (0040:006C)."""

REAL_MODE_END = 0x110000
"""The first address that real mode does not reach: FFFF:FFFF is 10FFEFh."""


@dataclass(frozen=True, slots=True)
class Registers:
    """The processor's state, as far as anything here depends on it.

    `values` are in the order of REGISTERS, `bases` and `limits` those of CS, SS, DS, ES, FS
    and GS. `cr0`, `dr7` and `efer` are the registers of those names, `wide` whether CS and SS
    are 32-bit segments, `a20` whether address line 20 is let through, `ring` the privilege level,
    `vectors` base and limit of the interrupt table.
    """

    values: tuple[int, ...]
    bases: tuple[int, ...]
    limits: tuple[int, ...]
    cr0: int
    dr7: int
    efer: int
    wide: bool
    a20: bool
    halted: bool
    ring: int
    vectors: tuple[int, int]

    def __getitem__(self, name: str) -> int:
        """A register by its name."""
        return self.values[REGISTERS.index(name)]

    @property
    def real_mode(self) -> bool:
        """Whether CR0.PE is clear (Intel SDM 3, 2.5)."""
        return self.cr0 & 1 == 0

    @property
    def linear(self) -> int:
        """The address of the next instruction."""
        return self.bases[0] + self["EIP"]

    @property
    def stack_top(self) -> int:
        """The address of what was pushed last."""
        return self.bases[1] + (self["ESP"] & (0xFFFF if self.real_mode else -1))

    @property
    def mode(self) -> str:
        """`Frozen.mode`: a mode in which the look ahead knows its way, or words for another."""
        if self.efer & 0x400:
            return "long mode"
        if self.cr0 & 0x8000_0000:
            return "a mode with paging on"
        if self["EFLAGS"] & 0x20000:
            return "virtual 8086 mode"
        if not self.a20:
            return "a mode with address line 20 off"
        if self.dr7 & 0xFF:
            return "a mode with hardware breakpoints"
        if self.real_mode:
            base, limit = self.vectors
            if base or limit < 0x3FF:
                return "real mode with an interrupt table of its own"
            # TCG looks at no limits, nor does Unicorn: SeaBIOS leaves some at 4 GiB.
            selectors = self.values[10:]
            plain = all(b == s * 16 for b, s in zip(self.bases, selectors, strict=True))
            return Frozen.REAL if plain else "real mode with segments of another mode"
        flat = not any(self.bases[:4]) and all(limit == 0xFFFF_FFFF for limit in self.limits[:4])
        if self.wide and flat and self.ring == 0:
            return Frozen.FLAT_32
        return "protected mode"


def registers(text: str) -> Registers:
    """Read the output of the monitor's "info registers".

    The layout is that of QEMU's target/i386/cpu-dump.c. Raises QemuError when something
    that is needed is not there.
    """

    def field(pattern: str, base: int = 16) -> int:
        found = re.search(pattern, text)
        if found is None:
            raise QemuError(f"QEMU's register dump has no {pattern!r}: {text[:80]!r}")
        return int(found[1], base)

    general = [field(rf"[ER]{name[1:]}=([0-9a-f]+)") for name in REGISTERS[:9]]
    flags = field(r"[ER]FL=([0-9a-f]+)")
    segments = [rf"{name} =([0-9a-f]+) " for name in REGISTERS[10:]]
    bases = [pattern.replace("=([0-9a-f]+)", "=[0-9a-f]+ ([0-9a-f]+)") for pattern in segments]
    limits = [
        pattern.replace("=([0-9a-f]+)", "=[0-9a-f]+ [0-9a-f]+ ([0-9a-f]+)") for pattern in segments
    ]
    return Registers(
        values=(*general, flags, *map(field, segments)),
        bases=tuple(map(field, bases)),
        limits=tuple(map(field, limits)),
        cr0=field(r"CR0=([0-9a-f]+)"),
        dr7=field(r"DR7=([0-9a-f]+)"),
        efer=field(r"EFER=([0-9a-f]+)"),
        wide=re.search(r"CS =.*\bCS32\b", text) is not None
        and re.search(r"SS =.*\bDS16\b", text) is None,
        a20=field(r"A20=(\d)") == 1,
        halted=field(r"HLT=(\d)") == 1,
        ring=field(r"CPL=(\d)"),
        vectors=(field(r"IDT= +([0-9a-f]+) "), field(r"IDT= +[0-9a-f]+ ([0-9a-f]+)")),
    )


@dataclass(frozen=True, slots=True)
class Interrupts:
    """Which interrupts can get through to the processor: see `Frozen`.

    `others` is true also when the event timers run, which can write to memory.
    """

    lines: int
    remapped: bool
    others: bool


_PIC = r"pic{}: irr=[0-9a-f]+ imr=([0-9a-f]+) isr=[0-9a-f]+ hprio=\d+ irq_base=([0-9a-f]+)"
HPET = 0xFED00010
"""General configuration of the event timers; bit 0: they count, and may write to memory or to an
APIC when they come to an end (IA-PC HPET specification 1.0a, 2.3.5). No PC BIOS sets it."""

_BASES = (0x08, 0x70)
"""Vectors of the first line of each controller, as every PC BIOS sets them."""


def interrupts(pic: str, lapic: str, hpet: str) -> Interrupts:
    """Read the monitor's "info pic" and "info lapic", and the word at HPET.

    Their layouts are those of QEMU's hw/intc/i8259_common.c and ioapic_common.c, and of
    target/i386/cpu-dump.c. Raises QemuError when something that is needed is not there.
    """
    masks, bases = [], []
    for number in (0, 1):
        found = re.search(_PIC.format(number), pic)
        if found is None:
            raise QemuError(f"QEMU tells nothing of interrupt controller {number}: {pic[:80]!r}")
        masks.append(int(found[1], 16))
        bases.append(int(found[2], 16))
    # The second controller's interrupts come through line 2 of the first.
    second = 0 if masks[0] & 4 else ~masks[1] & 0xFF
    lines = (~masks[0] & 0xFB) | second << 8
    pins = re.findall(r"^ *pin +\d+ .*$", pic, re.MULTILINE)
    entries = re.findall(r"^LVT(?!0|1)\w*\s.*$", lapic, re.MULTILINE)
    if not pins or not any(entry.startswith("LVTT\t") for entry in entries):
        raise QemuError(f"QEMU tells nothing of its APICs: {pic[:80]!r}, {lapic[:80]!r}")
    timers = re.search(r": 0x([0-9a-f]{8})\b", hpet)
    if timers is None:
        raise QemuError(f"QEMU tells nothing of its event timers: {hpet[:80]!r}")
    return Interrupts(
        lines=lines,
        remapped=tuple(bases) != _BASES,
        # LVT0 carries the interrupt controllers' line, LVT1 the NMI that no part of this PC gives.
        others=any("masked" not in line for line in (*pins, *entries))
        or bool(int(timers[1], 16) & 1),
    )


@dataclass(frozen=True)
class Look:
    """What a look at the stopped processor gave: observations that lack only their moment.

    `frozen` has no memory yet; `page` gives it, page by page, as it was.
    """

    sample: Callable[..., CpuSample]
    frozen: Callable[..., Frozen] | None
    page: Callable[[int], bytes]


def look(qemu: Qemu, memory: GuestMemory, *, freeze: bool) -> Look:
    """Look at the stopped host's processor; with `freeze` at all of its state.

    It has to be stopped: a running TCG processor writes its instruction pointer back only
    now and then. Raises QemuError, DeadlineExpired.
    """
    seen = registers(qemu.monitor("info registers"))

    sample = partial(
        CpuSample,
        cs=seen["CS"],
        ip=seen["EIP"],
        linear=seen.linear,
        flags=seen["EFLAGS"],
        halted=seen.halted,
        real_mode=seen.real_mode,
        code=memory.read(seen.linear, CODE_BYTES),
        stack=memory.read(seen.stack_top, STACK_BYTES),
        ticks=int.from_bytes(memory.read(TICKS, 4), "little"),
    )
    if not freeze:
        return Look(sample, None, lambda address: b"")
    can_come = interrupts(
        qemu.monitor("info pic"), qemu.monitor("info lapic"), qemu.monitor(f"xp /1xw {HPET:#x}")
    )

    frozen = partial(
        Frozen,
        registers=seen.values,
        mode=seen.mode,
        halted=seen.halted,
        lines=can_come.lines,
        remapped=can_come.remapped,
        others=can_come.others,
        ram=memory.size,
        memory=b"",
    )
    # A copy: the machine runs on while it is looked ahead.
    copy = memory.copy(REAL_MODE_END if seen.real_mode else memory.size)
    return Look(sample, frozen, lambda address: copy[address : address + PAGE])
