"""A capture of the wire that Wireshark opens, written while it happens.

pcapng (IETF draft-ietf-opsawg-pcapng) with link type LINKTYPE_USB_LINUX_MMAPPED (220): each
packet is a 64-byte usbmon header, little endian here, and the bytes moved. The header's
layout is `struct usbmon_packet` in the kernel's Documentation/usb/usbmon.rst. What the cable
did to a packet stands in that packet's comment.
"""

from __future__ import annotations

import errno
import struct
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pcapng import FileWriter
from pcapng.blocks import EnhancedPacket, InterfaceDescription, SectionHeader

from harness import __version__
from harness.cable import scsi
from harness.cable.usbredir import (
    AltSettingStatus,
    BulkPacket,
    ConfigurationStatus,
    ControlPacket,
    Data,
    DeviceConnect,
    GetAltSetting,
    GetConfiguration,
    InterruptPacket,
    Packet,
    SetAltSetting,
    SetConfiguration,
    Side,
    Status,
    Transfer,
)
from harness.errors import CableError, DiskFull, RigFault

LINKTYPE_USB_LINUX_MMAPPED = 220
SNAP_LENGTH = 64 * 1024
"""How many bytes of a transfer are kept."""

_USBMON = struct.Struct("<QccBBHccqiiII8siiII")
_BLOCK = struct.Struct("<IIIIIII")
"""The head of an Enhanced Packet Block (the draft, 4.3): type, length of the block, interface, both
halves of the time, bytes that are kept, bytes that there were."""
_BLOCK_END = struct.Struct("<I")
"""Its length comes again at its end, behind the options, of which there are none."""
_BLOCK_TYPE = 6
_SETUP = struct.Struct("<BBHHH")

# usbmon.rst: "ISO (0), Intr (1), Control (2), Bulk (3)".
_INTERRUPT, _CONTROL, _BULK = b"\x01", b"\x02", b"\x03"
_SUBMIT, _COMPLETE = b"S", b"C"

# What Linux gives as an urb's status (Documentation/driver-api/usb/error-codes.rst).
_ERRNO = {
    Status.SUCCESS: 0,
    Status.CANCELLED: -errno.ECONNRESET,
    Status.INVAL: -errno.EINVAL,
    Status.IOERROR: -errno.EPROTO,
    Status.STALL: -errno.EPIPE,
    Status.TIMEOUT: -errno.ETIMEDOUT,
    Status.BABBLE: -errno.EOVERFLOW,
}
_BUS = 1


class Capture:
    """One capture file. Its methods raise DiskFull or CableError when it cannot be written."""

    def __init__(self, path: Path) -> None:
        """Begin the file, replacing what was there."""
        self._path = path
        self._device = 0
        self._next_urb = 1
        # An id may be asked for again before a cancelled transfer's answer is in; answers
        # come in the order of the questions.
        self._urbs: defaultdict[tuple[bytes, int], deque[int]] = defaultdict(deque)
        self._setups: dict[int, int] = {}
        self._comment = ""
        self._section = SectionHeader(
            endianness="<", options={"shb_userappl": f"Bootgate {__version__}"}
        )
        self._section.new_member(
            InterfaceDescription,
            link_type=LINKTYPE_USB_LINUX_MMAPPED,
            snaplen=_USBMON.size + SNAP_LENGTH,
            options={"if_name": "cable"},
        )
        try:
            self._file = path.open("wb", buffering=256 * 1024)
        except OSError as error:
            raise self._failure(error) from error
        self._try(self._begin)

    def _begin(self) -> None:
        self._writer = FileWriter(self._file, self._section)

    def write(self, packet: Packet, sender: Side, now: float, comment: str = "") -> None:
        """Add what a packet stands for; `now` is in seconds since the epoch.

        `comment` is said of it. An answer to nothing that was asked is added only with one: it is
        otherwise that of a question from before the capture began.
        Packets that are no transfer add nothing, but a configuration or alternate setting
        becomes the control transfer that it is on a bus: without SET_CONFIGURATION
        Wireshark does not look for SCSI in bulk transfers.
        """
        self._comment = comment
        match packet:
            case DeviceConnect():
                # usbredir does not say the address; each plug gets its own, so that
                # Wireshark does not apply an old device's descriptors to a new one.
                self._device = self._device % 127 + 1
                # What the old one did not answer, the new one will not.
                self._urbs.clear()
                self._setups.clear()
            case ControlPacket():
                setup = _SETUP.pack(
                    packet.requesttype, packet.request, packet.value, packet.index, packet.length
                )
                self._transfer(packet, sender, _CONTROL, now, setup)
            case BulkPacket():
                self._transfer(packet, sender, _BULK, now)
            case InterruptPacket() if packet.inward:
                # It comes unasked: usbredir's far end does the polling.
                self._submit(_INTERRUPT, packet.id, packet.endpoint, packet.length, b"", now)
                self._transfer(packet, sender, _INTERRUPT, now)
            case InterruptPacket():
                self._transfer(packet, sender, _INTERRUPT, now)
            case SetConfiguration():
                self._own(packet.id, (0x00, scsi.SET_CONFIGURATION, packet.configuration, 0), now)
            case GetConfiguration():
                self._own(packet.id, (0x80, scsi.GET_CONFIGURATION, 0, 0), now)
            case SetAltSetting():
                self._own(packet.id, (0x01, scsi.SET_INTERFACE, packet.alt, packet.interface), now)
            case GetAltSetting():
                self._own(packet.id, (0x81, scsi.GET_INTERFACE, 0, packet.interface), now)
            case ConfigurationStatus():
                self._own_answer(packet.id, packet.status, packet.configuration, now)
            case AltSettingStatus():
                self._own_answer(packet.id, packet.status, packet.alt, now)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._try(self._file.flush)

    def close(self) -> None:
        """End the file."""
        self._try(self._file.close)

    # --- events -----------------------------------------------------------------------------

    def _transfer(
        self, packet: Transfer, sender: Side, kind: bytes, now: float, setup: bytes = b""
    ) -> None:
        if sender is Side.HOST:
            self._submit(kind, packet.id, packet.endpoint, packet.length, packet.data, now, setup)
        else:
            self._complete(
                kind, packet.id, packet.endpoint, packet.status, packet.length, packet.data, now
            )

    def _own(self, ident: int, request: tuple[int, int, int, int], now: float) -> None:
        """A control request that usbredir has a packet of its own for."""
        direction = request[0] & 0x80
        length = 1 if direction else 0
        self._setups[ident] = direction
        setup = _SETUP.pack(*request, length)
        self._submit(_CONTROL, ident, direction, length, b"", now, setup)

    def _own_answer(self, ident: int, status: int, value: int, now: float) -> None:
        direction = self._setups.pop(ident, 0)
        data = bytes([value]) if direction and not status else b""
        self._complete(_CONTROL, ident, direction, status, len(data), data, now)

    def _submit(
        self,
        kind: bytes,
        ident: int,
        endpoint: int,
        length: int,
        data: Data,
        now: float,
        setup: bytes = b"",
    ) -> None:
        urb = self._next_urb
        self._next_urb += 1
        self._urbs[kind, ident].append(urb)
        self._record(urb, _SUBMIT, kind, endpoint, -errno.EINPROGRESS, length, data, now, setup)

    def _complete(
        self,
        kind: bytes,
        ident: int,
        endpoint: int,
        status: int,
        length: int,
        data: Data,
        now: float,
    ) -> None:
        waiting = self._urbs.get((kind, ident))
        if waiting:
            urb = waiting.popleft()
            if not waiting:
                del self._urbs[kind, ident]
        elif self._comment:
            urb = self._next_urb
            self._next_urb += 1
        else:
            return
        code = _ERRNO.get(Status(status)) if status in _ERRNO else -errno.EPROTO
        self._record(urb, _COMPLETE, kind, endpoint, code or 0, length, data, now)

    def _record(
        self,
        urb: int,
        event: bytes,
        kind: bytes,
        endpoint: int,
        status: int,
        length: int,
        data: Data,
        now: float,
        setup: bytes = b"",
    ) -> None:
        kept = data[:SNAP_LENGTH]
        seconds, micros = divmod(int(now * 1_000_000), 1_000_000)
        # usbmon.rst: flag_data is 0 where data is present, else "<" or ">" by direction.
        absent = b"<" if endpoint & 0x80 else b">"
        header = _USBMON.pack(
            urb,
            event,
            kind,
            endpoint,
            self._device,
            _BUS,
            b"\0" if setup else b"-",
            b"\0" if len(data) else absent,
            seconds,
            micros,
            status,
            length,
            len(kept),
            setup,
            0,
            0,
            0,
            0,
        )
        stamp = seconds * 1_000_000 + micros  # the resolution when none is named
        if self._comment:
            self._try(partial(self._write_commented, header, kept, len(data), stamp))
            return
        # By hand: the library takes 15 times as long, most of all that the cable does.
        size = _USBMON.size + len(kept)
        padding = -size % 4
        whole = _BLOCK.size + size + padding + _BLOCK_END.size
        high, low, were = stamp >> 32, stamp & 0xFFFF_FFFF, _USBMON.size + len(data)
        head = _BLOCK.pack(_BLOCK_TYPE, whole, 0, high, low, size, were)
        end = bytes(padding) + _BLOCK_END.pack(whole)
        try:
            self._file.write(b"".join((head, header, kept, end)))
        except OSError as error:
            raise self._failure(error) from error

    def _write_commented(self, header: bytes, kept: Data, length: int, stamp: int) -> None:
        block = self._section.new_member(
            EnhancedPacket,
            timestamp_high=stamp >> 32,
            timestamp_low=stamp & 0xFFFF_FFFF,
            packet_len=len(header) + length,
            packet_data=header + bytes(kept),
            options={"opt_comment": self._comment},
        )
        self._writer.write_block(block)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> RigFault:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFull(f"no room for the capture {self._path}; free some disk space")
        return CableError(
            f"the capture {self._path} cannot be written: {error.strerror}; "
            "choose a folder that can be written"
        )
