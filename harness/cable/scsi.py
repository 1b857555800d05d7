"""Names for what crosses the cable: SCSI commands, sense, wrappers, control requests.

Sources: USB Mass Storage Class, Bulk-Only Transport 1.0 (BOT); SPC-4, SBC-3 and MMC-6 for
operation codes and sense; USB 2.0, chapter 9; HID 1.11, 7.2. Only what a BIOS or a boot
loader meets has a name, the rest shows its numbers.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

MASS_STORAGE = (0x08, 0x06, 0x50)
"""Class, subclass (SCSI transparent) and protocol of a drive (BOT 4.3, table 4.5)."""

_OPERATIONS = {
    0x00: "TEST UNIT READY",
    0x03: "REQUEST SENSE",
    0x04: "FORMAT UNIT",
    0x12: "INQUIRY",
    0x15: "MODE SELECT(6)",
    0x1A: "MODE SENSE(6)",
    0x1B: "START STOP UNIT",
    0x1E: "PREVENT ALLOW MEDIUM REMOVAL",
    0x08: "READ(6)",
    0x0A: "WRITE(6)",
    0x23: "READ FORMAT CAPACITIES",
    0x25: "READ CAPACITY(10)",
    0x28: "READ(10)",
    0x2A: "WRITE(10)",
    0x2E: "WRITE AND VERIFY(10)",
    0x2F: "VERIFY(10)",
    0x35: "SYNCHRONIZE CACHE(10)",
    0x42: "READ SUB-CHANNEL",
    0x43: "READ TOC/PMA/ATIP",
    0x44: "READ HEADER",
    0x46: "GET CONFIGURATION",
    0x4A: "GET EVENT STATUS NOTIFICATION",
    0x51: "READ DISC INFORMATION",
    0x55: "MODE SELECT(10)",
    0x5A: "MODE SENSE(10)",
    0x88: "READ(16)",
    0x8A: "WRITE(16)",
    0xA0: "REPORT LUNS",
    0xA8: "READ(12)",
    0xAA: "WRITE(12)",
    0xBE: "READ CD",
}

_SENSE_KEYS = (
    "NO SENSE",
    "RECOVERED ERROR",
    "NOT READY",
    "MEDIUM ERROR",
    "HARDWARE ERROR",
    "ILLEGAL REQUEST",
    "UNIT ATTENTION",
    "DATA PROTECT",
    "BLANK CHECK",
    "VENDOR SPECIFIC",
    "COPY ABORTED",
    "ABORTED COMMAND",
    "OBSOLETE",
    "VOLUME OVERFLOW",
    "MISCOMPARE",
    "COMPLETED",
)

_SENSE_CODES = {
    0x00: "NO ADDITIONAL SENSE INFORMATION",
    0x04: "LOGICAL UNIT NOT READY",
    0x08: "LOGICAL UNIT COMMUNICATION FAILURE",
    0x0C: "WRITE ERROR",
    0x11: "UNRECOVERED READ ERROR",
    0x1A: "PARAMETER LIST LENGTH ERROR",
    0x20: "INVALID COMMAND OPERATION CODE",
    0x21: "LOGICAL BLOCK ADDRESS OUT OF RANGE",
    0x24: "INVALID FIELD IN CDB",
    0x25: "LOGICAL UNIT NOT SUPPORTED",
    0x26: "INVALID FIELD IN PARAMETER LIST",
    0x27: "WRITE PROTECTED",
    0x28: "NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED",
    0x29: "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED",
    0x2A: "PARAMETERS CHANGED",
    0x30: "INCOMPATIBLE MEDIUM",
    0x39: "SAVING PARAMETERS NOT SUPPORTED",
    0x3A: "MEDIUM NOT PRESENT",
    0x44: "INTERNAL TARGET FAILURE",
    0x53: "MEDIUM LOAD OR EJECT FAILED",
    0x5A: "OPERATOR REQUEST OR STATE CHANGE INPUT",
    0x64: "ILLEGAL MODE FOR THIS TRACK",
}


def command_name(cdb: bytes) -> str:
    """The standard's name of a command by its operation code, or "command XXh"."""
    if not cdb:
        return "empty command"
    return _OPERATIONS.get(cdb[0], f"command {cdb[0]:02X}h")


class Blocks(NamedTuple):
    """Which blocks of the medium a command is about."""

    lba: int
    number: int


_READS = {0x08: 6, 0x28: 10, 0xA8: 12, 0x88: 16}
"""READ by operation code: the size of its command (SBC-3, 5.11, 5.8, 5.13 and 5.15)."""

_WRITES = {0x0A: 6, 0x2A: 10, 0x2E: 10, 0xAA: 12, 0x8A: 16}
"""WRITE, WRITE AND VERIFY(10) likewise (SBC-3, 5.32, 5.34, 5.39, 5.36 and 5.38)."""


def read_blocks(cdb: bytes) -> Blocks | None:
    """What a READ of 6, 10, 12 or 16 bytes asks for; None for any other or cut command."""
    return _blocks(cdb, _READS)


def written_blocks(cdb: bytes) -> Blocks | None:
    """The same for a WRITE."""
    return _blocks(cdb, _WRITES)


def _blocks(cdb: bytes, sizes: dict[int, int]) -> Blocks | None:
    size = sizes.get(cdb[0]) if cdb else None
    if size is None or len(cdb) < size:
        return None
    match size:
        case 6:  # it cannot be about no block: 0 means 256
            return Blocks(int.from_bytes(cdb[1:4]) & 0x1FFFFF, cdb[4] or 256)
        case 10:
            return Blocks(int.from_bytes(cdb[2:6]), int.from_bytes(cdb[7:9]))
        case 12:
            return Blocks(int.from_bytes(cdb[2:6]), int.from_bytes(cdb[6:10]))
    return Blocks(int.from_bytes(cdb[2:10]), int.from_bytes(cdb[10:14]))


class Sense(NamedTuple):
    """What a drive complains of (SPC-4, 4.5)."""

    key: int
    asc: int
    ascq: int

    def __str__(self) -> str:
        """Such as "02/3A/00 NOT READY: MEDIUM NOT PRESENT"."""
        words = _SENSE_CODES.get(self.asc)
        name = _SENSE_KEYS[self.key] + (f": {words}" if words else "")
        return f"{self.key:02X}/{self.asc:02X}/{self.ascq:02X} {name}"


def parse_sense(data: bytes) -> Sense | None:
    """Read the data of REQUEST SENSE; None when it is no sense data or was cut short.

    Response codes 70h and 71h have fixed format (SPC-4, 4.5.3), 72h and 73h descriptor
    format (4.5.2).
    """
    code = data[0] & 0x7F if data else 0
    if code in (0x70, 0x71) and len(data) >= 14:
        return Sense(data[2] & 0x0F, data[12], data[13])
    if code in (0x72, 0x73) and len(data) >= 4:
        return Sense(data[1] & 0x0F, data[2], data[3])
    return None


# --- wrappers of Bulk-Only Transport --------------------------------------------------------

_CBW = struct.Struct("<IIIBBB16s")
_CSW = struct.Struct("<IIIB")
CBW_SIGNATURE = 0x43425355
CSW_SIGNATURE = 0x53425355


class CommandWrapper(NamedTuple):
    """A command block wrapper (BOT 5.1); `length` is what the host expects to move."""

    tag: int
    length: int
    to_host: bool
    lun: int
    cdb: bytes


class StatusWrapper(NamedTuple):
    """A command status wrapper (BOT 5.2); `status` is 0 passed, 1 failed, 2 phase error."""

    tag: int
    residue: int
    status: int


def parse_cbw(data: bytes) -> CommandWrapper | None:
    """Read a command block wrapper; None for anything that BOT 6.2.1 calls invalid."""
    if len(data) != _CBW.size:
        return None
    signature, tag, length, flags, lun, size, cdb = _CBW.unpack(data)
    if signature != CBW_SIGNATURE:
        return None
    # Reserved bits and a wrong size are the host's mistakes: show what can be shown.
    return CommandWrapper(tag, length, bool(flags & 0x80), lun & 0x0F, cdb[: max(1, size & 0x1F)])


CSW_BYTES = _CSW.size
"""Bytes of a command status wrapper (BOT 5.2)."""


def parse_csw(data: bytes) -> StatusWrapper | None:
    """Read a command status wrapper; None for anything that BOT 6.3.1 calls invalid.

    Whether its tag is the command's is for the caller to say.
    """
    if len(data) != _CSW.size:
        return None
    signature, tag, residue, status = _CSW.unpack(data)
    return StatusWrapper(tag, residue, status) if signature == CSW_SIGNATURE else None


# --- control requests -----------------------------------------------------------------------

GET_CONFIGURATION = 0x08
SET_CONFIGURATION = 0x09
GET_INTERFACE = 0x0A
SET_INTERFACE = 0x0B
GET_MAX_LUN = 0xFE
BULK_ONLY_RESET = 0xFF

# USB 2.0, table 9-4; the usbredir gadget's end answers SET_ADDRESS by itself.
_STANDARD = {
    0x00: "GET_STATUS",
    0x01: "CLEAR_FEATURE",
    0x03: "SET_FEATURE",
    0x05: "SET_ADDRESS",
    0x06: "GET_DESCRIPTOR",
    0x07: "SET_DESCRIPTOR",
    GET_CONFIGURATION: "GET_CONFIGURATION",
    SET_CONFIGURATION: "SET_CONFIGURATION",
    GET_INTERFACE: "GET_INTERFACE",
    SET_INTERFACE: "SET_INTERFACE",
    0x0C: "SYNCH_FRAME",
    0x30: "SET_SEL",
    0x31: "SET_ISOCH_DELAY",
}
# USB 2.0, table 9-5; USB 3.2, table 9-6; HID 1.11, 7.1.
_DESCRIPTORS = {
    1: "DEVICE",
    2: "CONFIGURATION",
    3: "STRING",
    4: "INTERFACE",
    5: "ENDPOINT",
    6: "DEVICE_QUALIFIER",
    7: "OTHER_SPEED_CONFIGURATION",
    15: "BOS",
    0x21: "HID",
    0x22: "REPORT",
}
# USB 2.0, table 9-6: selector and recipient (0 device, 2 endpoint).
_FEATURES = {(0, 2): "ENDPOINT_HALT", (1, 0): "DEVICE_REMOTE_WAKEUP", (2, 0): "TEST_MODE"}
# By bmRequestType and bRequest: BOT 3.1 and 3.2; HID 1.11, 7.2. A number of HID's is also
# one of other classes', and the request alone does not say which class the interface has;
# the direction tells the ones apart that a BIOS uses.
_CLASS = {
    (0xA1, GET_MAX_LUN): "GET_MAX_LUN",
    (0x21, BULK_ONLY_RESET): "BULK_ONLY_RESET",
    (0xA1, 0x01): "GET_REPORT",
    (0xA1, 0x02): "GET_IDLE",
    (0xA1, 0x03): "GET_PROTOCOL",
    (0x21, 0x09): "SET_REPORT",
    (0x21, 0x0A): "SET_IDLE",
    (0x21, 0x0B): "SET_PROTOCOL",
}


def control_name(request_type: int, request: int, value: int) -> str:
    """The name of a control request, such as "GET_DESCRIPTOR(DEVICE)".

    The arguments are bmRequestType, bRequest and wValue. Without a name in the sources of
    this module it is "request TT RR".
    """
    kind = request_type >> 5 & 3
    if kind == 1:
        name = _CLASS.get((request_type, request))
    elif kind == 0:
        name = _STANDARD.get(request)
        if name in ("GET_DESCRIPTOR", "SET_DESCRIPTOR"):
            name += f"({_DESCRIPTORS.get(value >> 8, f'{value >> 8:02X}h')})"
        elif name in ("CLEAR_FEATURE", "SET_FEATURE"):
            name += f"({_FEATURES.get((value, request_type & 0x1F), f'{value:04X}h')})"
        elif name == "SET_CONFIGURATION":
            name += f"({value & 0xFF})"
    else:
        name = None
    return name or f"request {request_type:02X} {request:02X}"
