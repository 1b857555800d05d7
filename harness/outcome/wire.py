"""What the host asked of the drive, and what it heard. Pure, from observations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.cable.scsi import read_blocks
from harness.observation import (
    SECTOR,
    BiosLine,
    BusReset,
    CableMuted,
    ControlReply,
    ControlRequest,
    HostEvent,
    InterruptPolling,
    Observation,
    Plugged,
    ScsiCommand,
    ScsiReply,
    Unplugged,
    sector_digest,
)

INQUIRY = "INQUIRY"
TEST_UNIT_READY = "TEST UNIT READY"
REQUEST_SENSE = "REQUEST SENSE"
MEDIUM_NOT_PRESENT = (0x02, 0x3A)
"""Sense key NOT READY, additional sense code MEDIUM NOT PRESENT (SPC-4, annex D)."""


PATIENCE_SECONDS = 4.5
"""A kernel's drive answers within milliseconds; SeaBIOS waits 5 s (src/hw/usb.h,
USB_TIME_COMMAND), then it gives up on the drive."""


def slow_answer(stream: Sequence[Observation]) -> str:
    """Which command was not answered, or too late for the host; "" when none.

    A reply is that of the last command with its tag: SeaBIOS gives all of them one
    (src/hw/usb-msc.c, usb_process_op, dCBWTag).
    """
    waiting: dict[int, ScsiCommand] = {}
    for seen in stream:
        if isinstance(seen, ScsiCommand):
            waiting[seen.tag] = seen
        elif isinstance(seen, ScsiReply) and seen.tag in waiting:
            seconds = seen.at - waiting.pop(seen.tag).at
            if seconds > PATIENCE_SECONDS:
                return f"the drive took {seconds:.1f} s to answer {seen.name}"
        elif isinstance(seen, Unplugged | CableMuted):
            return ""  # it left, or the cable keeps its answers: that is another matter
    left = next(iter(waiting.values()), None)
    return f"the drive never answered {left.name}" if left else ""


_TIMEOUT = re.compile(r"WARNING - Timeout at (wait_pipe|wait_ed|ehci_wait_td|xhci_event_wait):")
"""SeaBIOS, where each of its USB drivers waits for the end of a transfer (src/hw/usb-uhci.c,
usb-ohci.c, usb-ehci.c, usb-xhci.c)."""


def lost_request(stream: Sequence[Observation]) -> str:
    """The BIOS's word that it gave up on a request, if all that came to the cable was answered.

    Then its own controller had not sent it, as a QEMU does that gets too little processor; ""
    when there was none.
    """
    last: Observation | None = None
    for seen in stream:
        match seen:
            case ControlRequest() | ControlReply() | ScsiCommand() | ScsiReply() | BusReset():
                last = seen
            case Unplugged():
                last = None
            case BiosLine(text=text) if _TIMEOUT.match(text):
                # SET_ADDRESS follows a reset, is QEMU's to answer, and gets 0.15 s (src/hw/usb.c,
                # usb_xfer_time).
                if isinstance(last, ScsiReply | BusReset):
                    return text
                if isinstance(last, ControlReply) and last.status == "success":
                    return text
    return ""


@dataclass(frozen=True)
class Asked:
    """The conversation with the drive during one boot.

    `configured`: the host set a configuration, so it has seen the device. `answered`: names of
    SCSI commands. `removable`: the RMB bit of the INQUIRY data
    (SPC-4, 6.4.2, byte 1 bit 7), None when no INQUIRY was answered. `senses`: sense key and
    additional sense code of each REQUEST SENSE answer.
    """

    configured: bool
    answered: tuple[str, ...]
    removable: bool | None
    senses: tuple[tuple[int, int], ...]

    @property
    def heard_empty(self) -> bool:
        """Whether the drive told the host that it has no medium."""
        return MEDIUM_NOT_PRESENT in self.senses

    @property
    def asked_the_drive(self) -> bool:
        """Whether INQUIRY and TEST UNIT READY crossed the cable and were answered."""
        return {INQUIRY, TEST_UNIT_READY} <= set(self.answered)


def asked(stream: Sequence[Observation]) -> Asked:
    """Read the conversation out of a case's stream."""
    replies = [s for s in stream if isinstance(s, ScsiReply)]
    inquiries = [r.data for r in replies if r.name == INQUIRY and len(r.data) > 1]
    senses = [r.data for r in replies if r.name == REQUEST_SENSE and len(r.data) > 12]
    return Asked(
        configured=any(
            isinstance(s, ControlRequest) and s.request_type == 0 and s.request == 9 for s in stream
        ),
        answered=tuple(r.name for r in replies if r.status in ("passed", "failed")),
        removable=bool(inquiries[-1][1] & 0x80) if inquiries else None,
        # Fixed format sense data: key in byte 2, additional sense code in byte 12.
        senses=tuple((data[2] & 0x0F, data[12]) for data in senses),
    )


# --- the keyboard ---------------------------------------------------------------------------

_HID = 3
"""The class of keyboards and mice: bInterfaceClass (HID 1.11, 4.1)."""
_KEYBOARD = 1
"""bInterfaceProtocol of a keyboard (HID 1.11, 4.3)."""
_KEYBOARD_USAGES = (0x0001_0006, 0x0001_0007)
"""Generic desktop page: keyboard, keypad (HID Usage Tables 1.12, 4)."""


def keyboard_driven(stream: Sequence[Observation]) -> bool:
    """Whether the host polls the gadget's keyboard: whether it hears a key that is pressed.

    What it polled before it was reset, or reset the device, counts no more.
    """
    driven = False
    for seen in stream:
        match seen:
            case Plugged() | Unplugged() | BusReset() | HostEvent(name="RESET"):
                driven = False
            case InterruptPolling() if seen.interface_class == _HID:
                driven |= seen.interface_protocol == _KEYBOARD or seen.usage in _KEYBOARD_USAGES
    return driven


# --- what was read --------------------------------------------------------------------------


def sector_of(stream: Sequence[Observation], block: bytes) -> int | None:
    """The LBA from which the host read the 512 bytes of `block` off the USB drive, if it did.

    What is on the medium more than once has the LBA at which it was read last. On a medium
    with longer blocks (a CD) it is that of the block which holds these bytes.
    """
    wanted = sector_digest(block)
    found: int | None = None
    commands: dict[int, ScsiCommand] = {}
    for seen in stream:
        if isinstance(seen, ScsiCommand):
            commands[seen.tag] = seen
        elif isinstance(seen, ScsiReply) and wanted in seen.sectors and seen.tag in commands:
            command = commands[seen.tag]
            if blocks := read_blocks(command.cdb):
                size = command.length // blocks.number if blocks.number else SECTOR
                found = blocks.lba + seen.sectors.index(wanted) * SECTOR // max(size, SECTOR)
    return found
