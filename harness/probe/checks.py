"""What is asked of the drive, and what it must answer: each check with the clause that says so.

Pure but for the drive that it is given: no rig, no firmware, no clock of its own.
Clauses: USB 2.0; USB MSC BOT 1.0 (BOT); HID 1.11 (HID); SPC-4, SBC-3, SAM-4.
"""

from __future__ import annotations

import errno
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import usb.core
import usb.util

from harness.cable.scsi import MASS_STORAGE, Sense
from harness.errors import Misbehaved
from harness.probe.bulk_only import (
    FAILED,
    PASSED,
    PHASE_ERROR,
    TEST_UNIT_READY,
    UNIT_ATTENTION,
    Drive,
    Reply,
    codes,
)


class Held(Enum):
    """What is in the drive; the value completes "a drive with ..."."""

    NOTHING = "no medium"
    MEDIUM = "a medium"
    READ_ONLY = "a read-only medium"


@dataclass(frozen=True)
class Check:
    """One thing that a drive must do.

    `held` are the states that it is asked in. `kernel` says, where Linux's own f_mass_storage is
    known to break it, what that does and where (Linux 6.1): no firmware can help it. A drive that
    does not answer, or refuses, breaks it otherwise.
    """

    name: str
    says: str
    clause: str
    held: tuple[Held, ...]
    ask: Callable[[Drive], None]
    kernel: str = ""


EITHER = (Held.NOTHING, Held.MEDIUM)
"""Of a read-only medium only what is its own is asked: all else does not depend on that."""
WITH_MEDIUM = (Held.MEDIUM, Held.READ_ONLY)
CHECKS: list[Check] = []
"""All of them, in the order in which they are asked."""

BLOCK = 512
NO_MEDIUM = (0x02, 0x3A)
INQUIRY = bytes((0x12, 0, 0, 0, 36, 0))
READ_CAPACITY = bytes((0x25, *bytes(9)))


def check(
    clause: str, held: tuple[Held, ...] = EITHER, kernel: str = ""
) -> Callable[[Callable[[Drive], None]], Callable[[Drive], None]]:
    """Make a check of a function: its name is the check's, its docstring what it says."""

    def add(ask: Callable[[Drive], None]) -> Callable[[Drive], None]:
        says = (ask.__doc__ or "").rstrip(".")
        CHECKS.append(Check(ask.__name__, says, clause, held, ask, kernel))
        return ask

    return add


def must(holds: object, otherwise: str) -> None:
    """Raise Misbehaved unless it holds."""
    if not holds:
        raise Misbehaved(otherwise)


def read_10(lba: int, blocks: int) -> bytes:
    """A READ(10) (SBC-3, 5.8)."""
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)


def write_10(lba: int, blocks: int) -> bytes:
    """A WRITE(10) (SBC-3, 5.34)."""
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, blocks, 0)


def must_fail(drive: Drive, reply: Reply, wanted: tuple[int, int], what: str) -> None:
    """A command has to have failed, without data, with this sense key and additional code."""
    must(reply.status == FAILED, f"{what} ended with status {reply.status}, not in failure (1)")
    must(not reply.data, f"{what} gave {len(reply.data)} bytes and then failed")
    found = drive.sense()
    must(
        (found.key, found.asc) == wanted,
        f"{what} failed with {found}, not {wanted[0]:02X}/{wanted[1]:02X}",
    )


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Within, the device has to stall."""
    try:
        yield
    except usb.core.USBTimeoutError as error:
        raise Misbehaved(f"{what} was neither answered nor refused") from error
    except usb.core.USBError as error:
        if error.errno == errno.EOVERFLOW:
            raise Misbehaved(f"{what} was answered, not refused") from error
        if error.errno != errno.EPIPE:
            raise
    else:
        raise Misbehaved(f"{what} was answered, not refused")


# --- descriptors ----------------------------------------------------------------------------


@check("BOT 4.3, table 4.5")
def one_drive(drive: Drive) -> None:
    """One interface is a SCSI drive by Bulk-Only Transport: 08/06/50."""
    found = [codes(i) for i in drive.device.get_active_configuration()]
    must(found.count(MASS_STORAGE) == 1, f"{found.count(MASS_STORAGE)} interfaces are drives")


@check("BOT 4.4; USB 2.0, 5.8.3")
def bulk_endpoints(drive: Drive) -> None:
    """It has a bulk IN and a bulk OUT endpoint of the speed's size."""
    sizes = {usb.util.SPEED_FULL: (8, 16, 32, 64), usb.util.SPEED_HIGH: (512,)}
    allowed = sizes.get(drive.device.speed, (1024,))
    for endpoint in drive.endpoints:
        size = endpoint.wMaxPacketSize
        must(size in allowed, f"endpoint {endpoint.bEndpointAddress:02X} has packets of {size}")


@check("USB 2.0, 9.6.6")
def endpoints_apart(drive: Drive) -> None:
    """No endpoint address is that of two interfaces."""
    users = Counter(
        address
        for interface in drive.device.get_active_configuration()
        if interface.bAlternateSetting == 0
        for address in {e.bEndpointAddress for e in interface}
    )
    shared = [f"{address:02X}" for address, count in users.items() if count > 1]
    must(not shared, f"endpoint {', '.join(shared)} is that of two interfaces")


@check("HID 4.2 and 4.3")
def boot_interfaces(drive: Drive) -> None:
    """Beside it, what a BIOS is to understand as keyboard or mouse (03/01) says which."""
    for interface in drive.device.get_active_configuration():
        kind, subclass, protocol = codes(interface)
        known = subclass == 0 or (subclass, protocol) in ((1, 1), (1, 2))
        must(
            kind != usb.CLASS_HID or known,
            f"interface {interface.bInterfaceNumber} is 03/{subclass:02X}/{protocol:02X}",
        )


@check("BOT 4.1.1 and 4.1.2")
def serial_number(drive: Drive) -> None:
    """The serial number has 12 digits at least, 0 to 9 and A to F."""
    text = drive.device.serial_number if drive.device.iSerialNumber else ""
    must(text, "there is no serial number")
    good = len(text) >= 12 and set(text) <= set("0123456789ABCDEF")
    must(good, f"the serial number is {text!r}")


# --- class requests -------------------------------------------------------------------------


@check("BOT 3.2")
def max_lun(drive: Drive) -> None:
    """GET_MAX_LUN to the drive's interface: one byte, 0 to 15."""
    answer = drive.max_lun()
    must(len(answer) == 1 and answer[0] <= 15, f"it answers {answer.hex(' ') or 'nothing'}")


@check("USB 2.0, 9.2.7")
def max_lun_of_another(drive: Drive) -> None:
    """GET_MAX_LUN to another interface is refused, and the drive goes on."""
    others = {i.bInterfaceNumber for i in drive.device.get_active_configuration()}
    for other in sorted(others - {drive.interface}):
        with refused(f"GET_MAX_LUN to interface {other}"):
            drive.max_lun(other)
    must(drive.ask(INQUIRY, 36).status == PASSED, "INQUIRY fails after it")


@check("BOT 3.1")
def class_reset(drive: Drive) -> None:
    """Bulk-Only Mass Storage Reset: the next command is taken."""
    drive.reset()
    must(drive.ask(INQUIRY, 36).status == PASSED, "INQUIRY fails after it")


# --- transport ------------------------------------------------------------------------------


def _invalid(drive: Drive, wrapper: bytes, what: str) -> None:
    """BOT 6.6.1: both endpoints stall, until reset recovery."""
    drive.send_wrapper(wrapper)
    for attempt in ("at once", "when its halt is cleared without the reset"):
        with refused(f"a status after {what}, asked for {attempt}"):
            drive.read_status()
        drive.device.clear_halt(drive.inward)
    drive.recover()
    must(drive.ask(INQUIRY, 36).status == PASSED, f"INQUIRY fails after reset recovery ({what})")


@check("BOT 6.6.1, 5.3.4")
def cbw_signature(drive: Drive) -> None:
    """A CBW without its signature: stalls until reset recovery."""
    _invalid(drive, b"USBX" + drive.wrapper(1, 36, True, INQUIRY, 0)[4:], "a wrong signature")


@check("BOT 6.6.1, 5.3.4")
def cbw_length(drive: Drive) -> None:
    """A CBW of 30 bytes: stalls until reset recovery."""
    _invalid(drive, drive.wrapper(1, 36, True, INQUIRY, 0)[:30], "30 bytes")


@check("SPC-4, 6.4.1; BOT 5.1")
def absent_lun(drive: Drive) -> None:
    """A LUN that is not there: INQUIRY says so, other commands fail."""
    answer = drive.max_lun()
    must(len(answer) == 1, f"GET_MAX_LUN answers {answer.hex(' ') or 'nothing'}")
    lun = answer[0] + 1
    if lun > 15:
        return  # there is none that is not there (BOT 5.1, bCBWLUN: four bits)
    reply = drive.ask(INQUIRY, 36, lun=lun)
    if reply.status == PASSED:
        must(reply.data[:1] and reply.data[0] >> 5 == 3, f"INQUIRY begins {reply.data[:1].hex()}")
    reply = drive.ask(TEST_UNIT_READY, lun=lun)
    must(reply.status == FAILED, f"TEST UNIT READY of LUN {lun} has status {reply.status}")


# The thirteen cases (BOT 6.7): what the Host expects x what the Device intends; nothing, In, Out.


def _case(reply: Reply, statuses: tuple[int, ...], residue: int | None = None) -> None:
    must(reply.status in statuses, f"status {reply.status}, not {' or '.join(map(str, statuses))}")
    if residue is not None and reply.status != PHASE_ERROR:
        must(reply.residue == residue, f"dCSWDataResidue {reply.residue}, not {residue}")


@check("BOT 6.7.1")
def case_1(drive: Drive) -> None:
    """Case 1, Hn = Dn: a command without data."""
    _case(drive.ask(TEST_UNIT_READY), (PASSED, FAILED), 0)


@check("BOT 6.7.1")
def case_2(drive: Drive) -> None:
    """Case 2, Hn < Di: the host wants none of the data."""
    _case(drive.ask(INQUIRY, 0), (PHASE_ERROR,))


@check("BOT 6.7.1", (Held.MEDIUM,))
def case_3(drive: Drive) -> None:
    """Case 3, Hn < Do: the host has no data to send."""
    _case(drive.ask(write_10(0, 1), 0, to_host=False), (PHASE_ERROR,))


@check("BOT 6.7.2")
def case_4(drive: Drive) -> None:
    """Case 4, Hi > Dn: the drive has no data."""
    reply = drive.ask(TEST_UNIT_READY, 64)
    _case(reply, (PASSED, FAILED), 64)
    must(not reply.data.strip(b"\0"), "it sent data that there is none of")


@check("BOT 6.7.2")
def case_5(drive: Drive) -> None:
    """Case 5, Hi > Di: the drive has less."""
    reply = drive.ask(INQUIRY, 64)
    _case(reply, (PASSED,), 28)
    must(len(reply.data) >= 36, f"{len(reply.data)} bytes came where 36 were due")


@check("BOT 6.7.2")
def case_6(drive: Drive) -> None:
    """Case 6, Hi = Di."""
    reply = drive.ask(INQUIRY, 36)
    _case(reply, (PASSED,), 0)
    must(len(reply.data) == 36, f"{len(reply.data)} bytes came where 36 were due")


@check("BOT 6.7.2")
def case_7(drive: Drive) -> None:
    """Case 7, Hi < Di: the drive has more."""
    reply = drive.ask(INQUIRY, 16)
    _case(reply, (PHASE_ERROR,))
    must(len(reply.data) <= 16, f"{len(reply.data)} bytes came where 16 were asked for")


@check("BOT 6.7.2", (Held.MEDIUM,))
def case_8(drive: Drive) -> None:
    """Case 8, Hi <> Do: the host reads and the command writes."""
    _case(drive.ask(write_10(0, 1), BLOCK), (PHASE_ERROR,))


@check("BOT 6.7.3")
def case_9(drive: Drive) -> None:
    """Case 9, Ho > Dn: the drive wants no data."""
    _case(drive.ask(TEST_UNIT_READY, 64, to_host=False), (PASSED, FAILED), 64)


@check("BOT 6.7.3")
def case_10(drive: Drive) -> None:
    """Case 10, Ho <> Di: the host sends and the command reads."""
    _case(drive.ask(INQUIRY, 36, to_host=False), (PHASE_ERROR,))


@check("BOT 6.7.3", (Held.MEDIUM,))
def case_11(drive: Drive) -> None:
    """Case 11, Ho > Do: the host sends more."""
    block = _block(drive, 1)
    _case(drive.ask(write_10(1, 1), 2 * BLOCK, to_host=False, data=block), (PASSED,), BLOCK)


@check("BOT 6.7.3", (Held.MEDIUM,))
def case_12(drive: Drive) -> None:
    """Case 12, Ho = Do."""
    block = _block(drive, 1)
    _case(drive.ask(write_10(1, 1), BLOCK, to_host=False, data=block), (PASSED,), 0)


@check("BOT 6.7.3", (Held.MEDIUM,))
def case_13(drive: Drive) -> None:
    """Case 13, Ho < Do: the host sends less."""
    block = _block(drive, 1)
    _case(drive.ask(write_10(1, 2), BLOCK, to_host=False, data=block), (PHASE_ERROR,))
    must(_block(drive, 1) == block, "it wrote something else than it was sent")


def _block(drive: Drive, lba: int) -> bytes:
    reply = drive.ask(read_10(lba, 1), BLOCK)
    must(reply.status == PASSED and len(reply.data) == BLOCK, f"LBA {lba} cannot be read")
    return reply.data


# --- SCSI -----------------------------------------------------------------------------------


@check("SPC-4, 6.4.2")
def inquiry(drive: Drive) -> None:
    """INQUIRY: 36 bytes, a disk or CD-ROM, removable (RMB=1)."""
    reply = drive.ask(INQUIRY, 36)
    data = reply.data
    must(reply.status == PASSED and len(data) == 36, f"{len(data)} bytes, status {reply.status}")
    must(data[0] in (0x00, 0x05), f"its device type is {data[0]:02X}")
    must(data[1] & 0x80, "an empty drive that is not removable (RMB=0)")
    must(data[3] & 0x0F == 2, f"its response data format is {data[3] & 0x0F}")


@check("SPC-4, 6.4.1")
def inquiry_page(drive: Drive) -> None:
    """A page of vital data that is not there: 05/24."""
    # Page 1Fh is none of SPC-4, table 595, and reserved.
    reply = drive.ask(bytes((0x12, 1, 0x1F, 0, 36, 0)), 36)
    must_fail(drive, reply, (0x05, 0x24), "INQUIRY of page 1Fh")


@check("SAM-4, 5.14")
def unit_attention(drive: Drive) -> None:
    """UNIT ATTENTION comes to an end when it is asked for."""
    drive.settle()
    drive.ask(TEST_UNIT_READY)
    must(drive.sense().key != UNIT_ATTENTION, "UNIT ATTENTION came back without a reason")


@check("SPC-4, 6.39")
def no_sense(drive: Drive) -> None:
    """REQUEST SENSE after a command that passed: no sense."""
    drive.ask(INQUIRY, 36)
    found = drive.sense()
    must(found == Sense(0, 0, 0), f"it says {found}")


@check("SPC-4, 4.5.6, table 48")
def operation_code(drive: Drive) -> None:
    """An operation code that is not there: 05/20."""
    # C3h is one of the vendor's (SPC-4, 4.2.5.1), and no known drive's.
    must_fail(drive, drive.ask(bytes((0xC3, *bytes(9)))), (0x05, 0x20), "operation code C3h")


@check("SPC-4, 6.47", (Held.NOTHING,))
def empty_test_unit_ready(drive: Drive) -> None:
    """TEST UNIT READY: 02/3A."""
    must_fail(drive, drive.ask(TEST_UNIT_READY), NO_MEDIUM, "TEST UNIT READY")


@check("SBC-3, 5.12", (Held.NOTHING,))
def empty_read_capacity(drive: Drive) -> None:
    """READ CAPACITY(10): 02/3A, no data."""
    must_fail(drive, drive.ask(READ_CAPACITY, 8), NO_MEDIUM, "READ CAPACITY(10)")


@check("SBC-3, 5.8", (Held.NOTHING,))
def empty_read(drive: Drive) -> None:
    """READ(10) of the first block: 02/3A, no data."""
    must_fail(drive, drive.ask(read_10(0, 1), BLOCK), NO_MEDIUM, "READ(10)")


@check("SBC-3, 5.34", (Held.NOTHING,))
def empty_write(drive: Drive) -> None:
    """WRITE(10) of the first block: 02/3A."""
    must_fail(drive, drive.ask(write_10(0, 1), BLOCK, to_host=False), NO_MEDIUM, "WRITE(10)")


@check("SPC-4, 6.47", WITH_MEDIUM)
def ready(drive: Drive) -> None:
    """TEST UNIT READY passes."""
    reply = drive.ask(TEST_UNIT_READY)
    must(reply.status == PASSED, f"it failed: {drive.sense()}")


@check("SBC-3, 5.12", WITH_MEDIUM)
def capacity(drive: Drive) -> None:
    """READ CAPACITY(10): blocks of 512 bytes."""
    must(_capacity(drive) > 1, "the medium has but one block")


def last_and_size(drive: Drive) -> tuple[int, int]:
    """The last block, and how many bytes a block has (SBC-3, 5.12). Raises Misbehaved."""
    reply = drive.ask(READ_CAPACITY, 8)
    got = f"READ CAPACITY(10) ended with status {reply.status}, {len(reply.data)} bytes"
    must(reply.status == PASSED and len(reply.data) == 8, got)
    last, size = struct.unpack(">II", reply.data)
    return int(last), int(size)


def _capacity(drive: Drive) -> int:
    """How many blocks there are."""
    last, size = last_and_size(drive)
    must(size == BLOCK, f"its blocks have {size} bytes")
    return last + 1


@check("SBC-3, 5.8", WITH_MEDIUM)
def last_block(drive: Drive) -> None:
    """READ(10) of the last block passes."""
    _block(drive, _capacity(drive) - 1)


@check("SBC-3, 5.8 and 4.7", (Held.MEDIUM,))
def beyond_the_end(drive: Drive) -> None:
    """READ(10) behind the last block: 05/21, no data."""
    reply = drive.ask(read_10(_capacity(drive), 1), BLOCK)
    must_fail(drive, reply, (0x05, 0x21), "READ(10)")


@check(
    "SBC-3, 5.8 and 4.7",
    (Held.MEDIUM,),
    "it sends the blocks up to the end, then fails (f_mass_storage.c, do_read)",
)
def across_the_end(drive: Drive) -> None:
    """READ(10) across the end: 05/21, no data."""
    reply = drive.ask(read_10(_capacity(drive) - 1, 2), 2 * BLOCK)
    must_fail(drive, reply, (0x05, 0x21), "READ(10)")


@check("SBC-3, 5.8", WITH_MEDIUM)
def no_block(drive: Drive) -> None:
    """READ(10) of no block passes."""
    reply = drive.ask(read_10(0, 0))
    must(reply.status == PASSED, f"it failed: {drive.sense()}")


@check("SBC-3, 5.34", (Held.MEDIUM,))
def written(drive: Drive) -> None:
    """WRITE(10) is read back."""
    lba = _capacity(drive) - 1
    before = _block(drive, lba)
    for block in (bytes(b ^ 0xFF for b in before), before):
        reply = drive.ask(write_10(lba, 1), BLOCK, to_host=False, data=block)
        must(reply.status == PASSED, f"WRITE(10) failed: {drive.sense()}")
        must(_block(drive, lba) == block, "READ(10) gives other data than WRITE(10) was given")


@check("SBC-3, 6.3.1", WITH_MEDIUM)
def mode_sense(drive: Drive) -> None:
    """MODE SENSE(6) tells whether it can be written."""
    reply = drive.ask(bytes((0x1A, 0, 0x3F, 0, 192, 0)), 192)
    must(reply.status == PASSED and len(reply.data) >= 4, f"status {reply.status}")
    protected = bool(reply.data[2] & 0x80)
    must(protected == drive.read_only, f"its WP bit is {int(protected)}")


@check("SBC-3, 5.34", (Held.READ_ONLY,))
def write_protected(drive: Drive) -> None:
    """WRITE(10) on a read-only medium: 07/27, nothing changed."""
    before = _block(drive, 0)
    reply = drive.ask(write_10(0, 1), BLOCK, to_host=False, data=bytes(b ^ 0xFF for b in before))
    must_fail(drive, reply, (0x07, 0x27), "WRITE(10)")
    must(_block(drive, 0) == before, "the block has changed")


@check("SPC-4, 6.15; SBC-3, 5.25", WITH_MEDIUM)
def held_medium(drive: Drive) -> None:
    """A medium that is held is not ejected: 05/53."""
    prevent, allow = (bytes((0x1E, 0, 0, 0, hold, 0)) for hold in (1, 0))
    must(drive.ask(prevent).status == PASSED, f"PREVENT failed: {drive.sense()}")
    try:
        must_fail(drive, drive.ask(bytes((0x1B, 0, 0, 0, 2, 0))), (0x05, 0x53), "ejecting")
    finally:
        allowed = drive.ask(allow)
    must(allowed.status == PASSED, f"ALLOW failed: {drive.sense()}")
    must(drive.ask(TEST_UNIT_READY).status == PASSED, "the medium has gone all the same")


EMPTY_6 = [
    check
    for check in CHECKS
    if check.ask
    in (inquiry, unit_attention, empty_test_unit_ready, empty_read_capacity, empty_read)
]
"""The checks of which requirement EMPTY-6 consists."""
