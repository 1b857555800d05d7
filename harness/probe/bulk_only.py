"""Bulk-Only Transport as a host speaks it by the book: USB MSC BOT 1.0 (BOT), chapters 3, 5, 6.

On a device of pyusb, so that the same code asks a virtual gadget and one on a USB port.
"""

from __future__ import annotations

import errno
import itertools
import struct
import time
from dataclasses import dataclass
from typing import Any

import usb.core
import usb.util

from harness.cable.scsi import (
    BULK_ONLY_RESET,
    CBW_SIGNATURE,
    GET_MAX_LUN,
    MASS_STORAGE,
    Sense,
    parse_csw,
    parse_sense,
)
from harness.errors import Misbehaved

SECONDS = 5.0
"""How long a transfer may take: as long as SeaBIOS waits for one (src/hw/usb.h)."""

_TO_INTERFACE, _FROM_INTERFACE = 0x21, 0xA1
"""bmRequestType of class requests to an interface (USB 2.0, table 9-2)."""

PASSED, FAILED, PHASE_ERROR = 0, 1, 2
"""bCSWStatus (BOT 5.2, table 5.3)."""


@dataclass(frozen=True)
class Reply:
    """How a command ended.

    `status` and `residue` are those of its CSW, `data` what came of a data phase to the host,
    `taken` how many bytes the drive took of one from it, `stalled` whether the data phase ended
    with a stall, `seconds` how long all of it took.
    """

    status: int
    residue: int
    data: bytes
    taken: int
    stalled: bool
    seconds: float


class Drive:
    """The mass storage interface of a pyusb device, at its LUN 0 unless another is named.

    Its methods raise Misbehaved, usb.core.USBTimeoutError when the device does not answer within
    `seconds`, and usb.core.USBError when it refused or has gone.
    """

    def __init__(self, device: Any, *, read_only: bool = False, seconds: float = SECONDS) -> None:
        """Take the first drive of a configured device, whose medium should be `read_only`.

        Raises Misbehaved when there is none that can be spoken to.
        """
        self.device = device
        self.read_only = read_only
        self._milliseconds = round(seconds * 1000)
        self._tags = itertools.count(1)
        found = [
            interface
            for interface in device.get_active_configuration()
            if codes(interface) == MASS_STORAGE
        ]
        if not found:
            raise Misbehaved("the gadget has no drive: none of its interfaces is 08/06/50")
        self.interface: int = found[0].bInterfaceNumber
        bulk = {
            usb.util.endpoint_direction(e.bEndpointAddress): e
            for e in found[0]
            if usb.util.endpoint_type(e.bmAttributes) == usb.util.ENDPOINT_TYPE_BULK
        }
        if len(bulk) != 2:
            raise Misbehaved("its mass storage interface lacks a bulk endpoint (BOT 4.4)")
        self.endpoints = tuple(bulk.values())
        self.inward: int = bulk[usb.util.ENDPOINT_IN].bEndpointAddress
        self.outward: int = bulk[usb.util.ENDPOINT_OUT].bEndpointAddress

    # --- class requests ---------------------------------------------------------------------

    def max_lun(self, interface: int | None = None) -> bytes:
        """GET_MAX_LUN (BOT 3.2), of another interface if one is named."""
        asked = self.interface if interface is None else interface
        request = (_FROM_INTERFACE, GET_MAX_LUN, 0, asked, 1)
        return bytes(self.device.ctrl_transfer(*request, timeout=self._milliseconds))

    def luns(self) -> range:
        """The numbers of its LUNs. A drive with one of them may refuse GET_MAX_LUN (BOT 3.2)."""
        try:
            answer = self.max_lun()
        except usb.core.USBError as error:
            if error.errno != errno.EPIPE:
                raise
            return range(1)
        if len(answer) != 1 or answer[0] > 15:
            raise Misbehaved(f"GET_MAX_LUN gave {answer[:16].hex(' ') or 'nothing'} (BOT 3.2)")
        return range(answer[0] + 1)

    def reset(self) -> None:
        """Bulk-Only Mass Storage Reset (BOT 3.1): the drive is ready for the next CBW."""
        request = (_TO_INTERFACE, BULK_ONLY_RESET, 0, self.interface)
        self.device.ctrl_transfer(*request, timeout=self._milliseconds)

    def recover(self) -> None:
        """Reset recovery (BOT 5.3.4): the reset, then both endpoints' halts."""
        self.reset()
        self.device.clear_halt(self.inward)
        self.device.clear_halt(self.outward)

    # --- commands ---------------------------------------------------------------------------

    def ask(
        self,
        cdb: bytes,
        length: int = 0,
        *,
        to_host: bool = True,
        data: bytes = b"",
        lun: int = 0,
    ) -> Reply:
        """Send a command and go through its data and status (BOT 5.3, 6.7).

        `length` is how many bytes the host expects to move (dCBWDataTransferLength), `to_host`
        which way (bmCBWFlags); whether that fits the command is the caller's business.
        """
        began = time.monotonic()
        tag = next(self._tags)
        self.send_wrapper(self.wrapper(tag, length, to_host, cdb, lun))
        came, taken, stalled = b"", 0, False
        try:
            if length and to_host:
                came = self._read(self.inward, length)
            elif length:
                taken = self._write(data.ljust(length, b"\0"))
        except usb.core.USBError as error:
            if error.errno != errno.EPIPE:
                raise
            # BOT 6.7.2 and 6.7.3: the host clears the halt, and then there is a CSW.
            stalled = True
            self.device.clear_halt(self.inward if to_host else self.outward)
        status, residue = self._status(tag, length)
        return Reply(status, residue, came, taken, stalled, time.monotonic() - began)

    def wrapper(self, tag: int, length: int, to_host: bool, cdb: bytes, lun: int) -> bytes:
        """A CBW (BOT 5.1)."""
        return struct.pack(
            "<IIIBBB16s", CBW_SIGNATURE, tag, length, to_host << 7, lun, len(cdb), cdb
        )

    def send_wrapper(self, wrapper: bytes) -> None:
        """Send a CBW, valid or not."""
        self._write(wrapper)

    def read_status(self) -> bytes:
        """Read what should be a CSW (BOT 5.2)."""
        return self._read(self.inward, 13)

    def _status(self, tag: int, length: int) -> tuple[int, int]:
        """Read the CSW; once more behind a stall (BOT 6.7, figure 2)."""
        try:
            data = self.read_status()
        except usb.core.USBError as error:
            if error.errno != errno.EPIPE:
                raise
            self.device.clear_halt(self.inward)
            data = self.read_status()
        found = parse_csw(data)
        if found is None:
            raise Misbehaved(f"its status is no CSW: {data[:16].hex(' ')} (BOT 6.3.1)")
        if found.tag != tag:
            raise Misbehaved(f"its CSW has tag {found.tag} where {tag} was sent (BOT 6.3.1)")
        if found.status not in (PASSED, FAILED, PHASE_ERROR):
            raise Misbehaved(f"its CSW has status {found.status} (BOT 5.2, table 5.3)")
        if found.status != PHASE_ERROR and found.residue > length:
            raise Misbehaved(f"its CSW leaves {found.residue} of {length} bytes over (BOT 6.3.2)")
        if found.status == PHASE_ERROR:
            self.recover()  # BOT 5.3.3.1
        return found.status, found.residue

    def _read(self, endpoint: int, length: int) -> bytes:
        return bytes(self.device.read(endpoint, length, self._milliseconds))

    def _write(self, data: bytes) -> int:
        return int(self.device.write(self.outward, data, self._milliseconds))

    # --- SCSI -------------------------------------------------------------------------------

    def sense(self, lun: int = 0) -> Sense:
        """REQUEST SENSE (SPC-4, 6.39): why the last command failed."""
        reply = self.ask(bytes((0x03, 0, 0, 0, 18, 0)), 18, lun=lun)
        found = parse_sense(reply.data)
        if reply.status != PASSED or found is None:
            raise Misbehaved(f"REQUEST SENSE gave no sense data: {reply.data.hex(' ')}")
        return found

    def settle(self, lun: int = 0) -> list[Sense]:
        """Take what UNIT ATTENTION is pending (SAM-4, 5.14), all of it; what that was.

        Raises Misbehaved when there is no end to it.
        """
        taken: list[Sense] = []
        for _ in range(8):
            if self.ask(TEST_UNIT_READY, lun=lun).status == PASSED:
                return taken
            found = self.sense(lun)
            if found.key != UNIT_ATTENTION:
                return taken
            taken.append(found)
        raise Misbehaved("its UNIT ATTENTION does not go away (SAM-4, 5.14)")


TEST_UNIT_READY = bytes(6)
UNIT_ATTENTION = 6
"""The sense key (SPC-4, table 46)."""


def codes(interface: Any) -> tuple[int, int, int]:
    """Class, subclass and protocol of an interface (USB 2.0, 9.6.5)."""
    return (
        interface.bInterfaceClass,
        interface.bInterfaceSubClass,
        interface.bInterfaceProtocol,
    )
