"""The moments of a boot at which something can be done to the host. Pure, from observations."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from harness.observation import BiosLine, Observation, ScsiCommand, ScsiReply
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
