"""The outcomes that a case can have: what the PC did, decided from observations only.

Two outcomes are equal when they say the same of the PC; how long it took and how it was
found out do not count.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

NEXT_DEVICE = "next-device"
"""Label of the disk that comes after the USB drive in the boot order."""

MEDIUM = "medium"
"""Label of the medium in the gadget's drive."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened. `why` is one sentence with the observations that decided it."""

    kind: ClassVar[str]
    why: str = field(default="", compare=False, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """The object under "outcome" in results.json."""
        return {"kind": self.kind, **dataclasses.asdict(self)}

    def __str__(self) -> str:
        """A word or two for a table."""
        return self.kind.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Booted(Outcome):
    """A boot payload ran and said from which medium."""

    kind: ClassVar[str] = "booted"
    medium: str
    seconds: float = field(default=0.0, compare=False)
    detours: tuple[str, ...] = field(default=(), compare=False)
    """What was tried before and failed, in the BIOS's words."""

    def __str__(self) -> str:
        """Such as "booted next-device"."""
        return f"booted {self.medium}"


@dataclass(frozen=True, slots=True)
class NoBootDevice(Outcome):
    """The BIOS gave up politely: nothing to boot, and it is alive."""

    kind: ClassVar[str] = "no_boot_device"


@dataclass(frozen=True, slots=True)
class NoDrive(Outcome):
    """The gate files ask for a virtual disk, and the firmware gave the host none."""

    kind: ClassVar[str] = "no_drive"


@dataclass(frozen=True, slots=True)
class Waiting(Outcome):
    """Alive and asking for a key."""

    kind: ClassVar[str] = "waiting"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What brings a hung PC back, each tried for real.

    `ps2` and `gadget_keyboard`: what Ctrl-Alt-Del does on that keyboard; "not_driven" when the
    BIOS does not use the gadget's at all. `boots_without_drive`: whether it boots its next
    device once the cable is pulled and the reset button pressed.
    """

    ps2: Literal["resets", "dead"]
    gadget_keyboard: Literal["resets", "dead", "not_driven"]
    boots_without_drive: bool | None


@dataclass(frozen=True, slots=True)
class Where:
    """Where the processor is: CS:IP, the instructions from there on, who put them there."""

    cs: int
    ip: int
    listing: tuple[str, ...]
    origin: str

    def __str__(self) -> str:
        """Such as "0000:7C00"."""
        return f"{self.cs:04X}:{self.ip:04X}"


@dataclass(frozen=True, slots=True)
class Last:
    """The last of each that was seen: message of the BIOS, disk read, SCSI command; "" if none."""

    bios: str
    disk: str
    scsi: str


@dataclass(frozen=True, slots=True)
class Hung(Outcome):
    """Nothing that the PC does can lead on.

    `how`: halted (HLT, interrupts off), idle (HLT, interrupts on, and nothing that wakes it has
    an effect), spinning (a loop that goes nowhere) or runaway (it executes what was never code).
    """

    kind: ClassVar[str] = "hung"
    how: str
    recovery: Recovery | None = field(default=None, compare=False)
    where: Where | None = field(default=None, compare=False)
    last: Last | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """Such as "hung (runaway)"."""
        return f"hung ({self.how})"


@dataclass(frozen=True, slots=True)
class ResetLoop(Outcome):
    """The PC starts again and again; `rounds` says what the BIOS told in each, a line each."""

    kind: ClassVar[str] = "reset_loop"
    rounds: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Inconclusive(Outcome):
    """The case's whole time went by and nothing was proven."""

    kind: ClassVar[str] = "inconclusive"


@dataclass(frozen=True, slots=True)
class RigFailed(Outcome):
    """The instrument failed; this says nothing about the firmware."""

    kind: ClassVar[str] = "rig_fault"


KINDS = tuple(
    cls.kind
    for cls in (
        Booted,
        NoBootDevice,
        NoDrive,
        Waiting,
        Hung,
        ResetLoop,
        Inconclusive,
        RigFailed,
    )
)
"""Every value of `outcome.kind` in results.json."""
