"""The moments of a boot at which something can be done to the host. Pure, from observations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from harness.observation import (
    BiosLine,
    BusReset,
    ControlReply,
    ControlRequest,
    Observation,
    ScsiCommand,
    ScsiReply,
)
from harness.outcome.wire import INQUIRY, asked

KEYBOARD_LINE = "PS2 keyboard initialized"
"""SeaBIOS, src/hw/ps2port.c, ps2_keyboard_setup: from here on the keyboard is heard."""

READ_CAPACITY = "READ CAPACITY(10)"

HANDOVER = "Booting from "
"""SeaBIOS, src/boot.c: how the last thing begins that it logs before it tries a device."""

ROM_LINES = ("blind: ", "strict: ")
"""How every line of our option ROMs begins, which say nothing until then (images/roms)."""


def hands_over(line: str) -> bool:
    """Whether the BIOS says with this line of its log that it boots something, or why not."""
    return line.startswith((HANDOVER, *ROM_LINES))


class Moment(Enum):
    """A moment of a boot, in the order in which they come; the value is its name in ids."""

    KEYBOARD_READY = "keyboard_ready"
    """The BIOS has initialised the PS/2 keyboard."""
    DRIVE_ASKED = "drive_asked"
    """The host's first INQUIRY is on the wire."""
    DRIVE_EMPTY = "drive_empty"
    """The host knows what is in the drive: it was told that there is no medium (02/3A), or, with
    a medium, how large that is."""
    HANDOVER = "handover"
    """The BIOS says that it boots something."""

    def has_come(self, stream: Sequence[Observation]) -> bool:
        """Whether the stream shows this moment; once it does, more of the stream does too.

        Moments of the drive never come on a host that does not ask it.
        """
        match self:
            case Moment.KEYBOARD_READY:
                return any(isinstance(s, BiosLine) and KEYBOARD_LINE in s.text for s in stream)
            case Moment.DRIVE_ASKED:
                return any(isinstance(s, ScsiCommand) and s.name == INQUIRY for s in stream)
            case Moment.DRIVE_EMPTY:
                return asked(stream).heard_empty or any(
                    isinstance(s, ScsiReply) and s.name == READ_CAPACITY and s.status == "passed"
                    for s in stream
                )
            case Moment.HANDOVER:
                return any(isinstance(s, BiosLine) and hands_over(s.text) for s in stream)


@dataclass(frozen=True)
class Mark:
    """The moment right after the `number`-th time that something was seen.

    `kind` is line (of the BIOS's log), reset (of the device), request, reply, command or status;
    `name` is the line, or what the wire's transcript calls it.
    """

    kind: str
    name: str
    number: int

    def __str__(self) -> str:
        """Such as "command INQUIRY 1"."""
        return " ".join(filter(None, (self.kind, self.name, str(self.number))))


class Marks:
    """Follows a boot, and says which marks it passes."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._counts: Counter[tuple[str, str]] = Counter()
        self._requests: dict[int, str] = {}

    def see(self, seen: Observation) -> Mark | None:
        """The mark that this observation is, if it is one."""
        kind, name = self._named(seen)
        if not kind:
            return None
        self._counts[kind, name] += 1
        return Mark(kind, name, self._counts[kind, name])

    def _named(self, seen: Observation) -> tuple[str, str]:
        match seen:
            case BiosLine(text=text) if text.strip():
                return "line", text.strip()
            case BusReset():
                return "reset", ""
            case ControlRequest():
                self._requests[seen.packet] = seen.name
                return "request", seen.name
            case ControlReply():
                return "reply", self._requests.pop(seen.packet, "unasked")
            case ScsiCommand():
                return "command", seen.name
            case ScsiReply():
                return "status", seen.name
        return "", ""


def boot_marks(stream: Sequence[Observation]) -> list[Mark]:
    """The marks of a recorded boot from power-on, in their order."""
    marks = Marks()
    return [mark for seen in stream if (mark := marks.see(seen)) is not None and seen.at >= 0]


def post_marks(stream: Sequence[Observation]) -> list[Mark]:
    """The marks of a recorded boot up to the first handover.

    The handover's own line is the last: what comes behind it is a boot loader's.
    """
    marks = boot_marks(stream)
    ends = (i for i, mark in enumerate(marks, 1) if mark.kind == "line" and hands_over(mark.name))
    return marks[: next(ends, len(marks))]


class Deed(Enum):
    """What can be done to a host, its cable or its gadget at a mark.

    The gadget VM needs longer for its part than SeaBIOS for all of POST; a real device beside a
    real PC does not. So the host either goes on meanwhile, or waits for the gadget to be back.
    """

    RESET = "the reset button is pressed"
    REPLUG = "the cable is pulled out, and plugged in again"
    PLUG = "the gadget is plugged in, which was not until then"
    REBIND = "the gadget is unbound from its USB controller, and bound again"
    QUICK_REBIND = "the gadget is bound anew, all of it before the host goes on"
    SILENCE = "the gadget falls silent, for two seconds"
    MUTE = "the gadget falls silent, for good"
    RESTART = "the device loses its power, and gets it back"
    QUICK_RESTART = "the device restarts, all of it before the host goes on"
    MOUNT = "an image is mounted through the device's server"
    QUICK_MOUNT = "an image is mounted, all of it before the host goes on"
    UNMOUNT = "the image is unmounted through the device's server"
    QUICK_UNMOUNT = "the image is unmounted, all of it before the host goes on"

    @property
    def begins_plugged(self) -> bool:
        """Whether the gadget is plugged in until then."""
        return self is not Deed.PLUG

    @property
    def quick(self) -> bool:
        """Whether the gadget has left and is back before the host goes on."""
        return self in (
            *(Deed.QUICK_REBIND, Deed.QUICK_RESTART),
            *(Deed.QUICK_MOUNT, Deed.QUICK_UNMOUNT),
        )

    @property
    def mounts(self) -> bool:
        """Whether an image is put into the drive."""
        return self in (Deed.MOUNT, Deed.QUICK_MOUNT)

    @property
    def by_server(self) -> bool:
        """Whether the device's server does it."""
        return self.mounts or self in (Deed.UNMOUNT, Deed.QUICK_UNMOUNT)


@dataclass(frozen=True)
class Disturbance:
    """A deed at a mark."""

    mark: Mark
    deed: Deed

    def __str__(self) -> str:
        """Such as "after command INQUIRY 1 the reset button is pressed"."""
        return f"after {self.mark} {self.deed.value}"
