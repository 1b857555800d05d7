"""The wire as evidence: observations, the transcript and the capture file.

One conversation made by hand: a composite gadget (keyboard, network, empty drive) is
plugged in, enumerated, and asked the three questions that a BIOS asks of a drive.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.cable import scsi
from harness.cable.capture import SNAP_LENGTH, Capture
from harness.cable.conversation import Conversation, transcript
from harness.cable.usbredir import (
    BulkPacket,
    CancelDataPacket,
    Cap,
    Caps,
    ConfigurationStatus,
    ControlPacket,
    DeviceConnect,
    DeviceDisconnect,
    Endpoint,
    EpInfo,
    GetConfiguration,
    Interface,
    InterfaceInfo,
    InterruptPacket,
    Packet,
    Parser,
    Reset,
    SetAltSetting,
    SetConfiguration,
    Side,
    Status,
    encode,
)
from harness.errors import CableError
from harness.observation import (
    BusReset,
    ControlReply,
    ControlRequest,
    Observation,
    Plugged,
    ScsiCommand,
    ScsiReply,
    Unplugged,
)

HOST, GADGET = Side.HOST, Side.GADGET
ALL = Caps(Cap(0xFF), Cap(0xFF))
Said = tuple[Side, Packet]

_ENDPOINTS = {
    0x00: Endpoint(0, 0, 0, 64, 0),
    0x10: Endpoint(0, 0, 0, 64, 0),
    0x11: Endpoint(3, 4, 0, 8, 0),  # keyboard
    0x12: Endpoint(2, 0, 2, 512, 0),  # network
    0x02: Endpoint(2, 0, 2, 512, 0),
    0x13: Endpoint(2, 0, 3, 512, 0),  # drive
    0x03: Endpoint(2, 0, 3, 512, 0),
}
EP_INFO = EpInfo(endpoints=tuple(_ENDPOINTS.get(i, Endpoint(255, 0, 0, 0, 0)) for i in range(32)))
INTERFACES = InterfaceInfo(
    interfaces=(
        Interface(0, 3, 1, 1),
        Interface(1, 2, 2, 255),
        Interface(2, 10, 0, 0),
        Interface(3, 8, 6, 0x50),
    )
)
CONNECT = DeviceConnect(
    speed=2,
    device_class=0,
    device_subclass=0,
    device_protocol=0,
    vendor_id=0x3346,
    product_id=0x1009,
    device_version_bcd=0x0510,
)
DEVICE = bytes.fromhex("120100020000004046330910100500000001")
# One interface is enough for Wireshark to know the drive: number 3, endpoints 83 and 03.
CONFIGURATION = bytes.fromhex("0902200001010080320904030002080650000705830200020007050302000200")
SENSE_3A = bytes([0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x3A, 0, 0, 0, 0, 0])
INQUIRY_DATA = b"\0\x80\x04\x02\x1f\0\0\0" + b"NanoKVM USB Mass Storage0510"


def get_descriptor(ident: int, kind: int, length: int, data: bytes) -> list[Said]:
    def packet(size: int, with_data: bytes) -> ControlPacket:
        return ControlPacket(
            id=ident,
            endpoint=0x80,
            requesttype=0x80,
            request=6,
            value=kind << 8,
            index=0,
            length=size,
            data=with_data,
        )

    return [(HOST, packet(length, b"")), (GADGET, packet(len(data[:length]), data[:length]))]


def no_data_request(ident: int, kind: int, request: int, value: int, index: int) -> list[Said]:
    packet = ControlPacket(
        id=ident, endpoint=0, requesttype=kind, request=request, value=value, index=index
    )
    return [(HOST, packet), (GADGET, packet)]


def out(ident: int, data: bytes, endpoint: int = 0x03) -> list[Said]:
    return [
        (HOST, BulkPacket(id=ident, endpoint=endpoint, length=len(data), data=data)),
        (GADGET, BulkPacket(id=ident, endpoint=endpoint, length=len(data))),
    ]


def into(ident: int, asked: int, data: bytes, status: int = 0, endpoint: int = 0x83) -> list[Said]:
    answer = BulkPacket(id=ident, endpoint=endpoint, status=status, length=len(data), data=data)
    return [(HOST, BulkPacket(id=ident, endpoint=endpoint, length=asked)), (GADGET, answer)]


def cbw(tag: int, cdb: bytes, length: int = 0, to_host: bool = True, lun: int = 0) -> bytes:
    flags = 0x80 if to_host else 0
    return struct.pack("<4sIIBBB16s", b"USBC", tag, length, flags, lun, len(cdb), cdb)


def csw(tag: int, status: int = 0, residue: int = 0) -> bytes:
    return struct.pack("<4sIIB", b"USBS", tag, residue, status)


PLUG: list[Said] = [(GADGET, EP_INFO), (GADGET, INTERFACES), (GADGET, CONNECT)]
ENUMERATION: list[Said] = [
    (HOST, Reset()),
    *get_descriptor(1, 1, 18, DEVICE),
    *get_descriptor(1, 2, 9, CONFIGURATION),
    *get_descriptor(1, 2, 32, CONFIGURATION),
    (HOST, SetConfiguration(id=1, configuration=1)),
    (GADGET, EP_INFO),
    (GADGET, INTERFACES),
    (GADGET, ConfigurationStatus(id=1, status=0, configuration=1)),
]
INQUIRY: list[Said] = [
    *out(2, cbw(10, b"\x12\0\0\0\x24\0", 36)),
    *into(3, 36, INQUIRY_DATA),
    *into(2, 13, csw(10)),
]
TEST_UNIT_READY: list[Said] = [*out(2, cbw(11, bytes(6))), *into(2, 13, csw(11, 1))]
REQUEST_SENSE: list[Said] = [
    *out(2, cbw(12, b"\x03\0\0\0\x12\0", 18)),
    *into(2, 18, SENSE_3A),
    *into(2, 13, csw(12)),
]
EMPTY_DRIVE = [*PLUG, *ENUMERATION, *INQUIRY, *TEST_UNIT_READY, *REQUEST_SENSE]


def watched(said: list[Said]) -> list[Observation]:
    """What is observed, one second for each packet; each packet goes over the wire first."""
    conversation = Conversation()
    seen = []
    for moment, (sender, packet) in enumerate(said):
        (heard,) = Parser(sender, ALL).feed(encode(packet, sender, ALL))
        seen += [make(float(moment)) for make in conversation.see(heard, sender)]
    return seen


def replies(said: list[Said]) -> list[ScsiReply]:
    return [o for o in watched([*PLUG, *said]) if isinstance(o, ScsiReply)]


# --- observations ---------------------------------------------------------------------------


def test_an_empty_drive_is_asked_three_questions() -> None:
    seen = watched(EMPTY_DRIVE)
    assert seen[:2] == [Plugged(2.0, speed="high", vendor=0x3346, product=0x1009), BusReset(3.0)]
    control = [o for o in seen if isinstance(o, ControlRequest | ControlReply)]
    assert [o.name for o in control if isinstance(o, ControlRequest)] == [
        "GET_DESCRIPTOR(DEVICE)",
        "GET_DESCRIPTOR(CONFIGURATION)",
        "GET_DESCRIPTOR(CONFIGURATION)",
        "SET_CONFIGURATION(1)",
    ]
    assert control[-2] == ControlRequest(10.0, 1, 0x00, 9, 1, 0, 0, "SET_CONFIGURATION(1)")
    assert control[-1] == ControlReply(13.0, 1, "success", 0)
    assert [o for o in seen if isinstance(o, ScsiCommand | ScsiReply)] == [
        ScsiCommand(14.0, 10, 0, "INQUIRY", b"\x12\0\0\0\x24\0", 36, True),
        ScsiReply(19.0, 10, "INQUIRY", "passed", 0, 36, INQUIRY_DATA),
        ScsiCommand(20.0, 11, 0, "TEST UNIT READY", bytes(6), 0, True),
        ScsiReply(23.0, 11, "TEST UNIT READY", "failed", 0, 0, b""),
        ScsiCommand(24.0, 12, 0, "REQUEST SENSE", b"\x03\0\0\0\x12\0", 18, True),
        ScsiReply(29.0, 12, "REQUEST SENSE", "passed", 0, 18, SENSE_3A),
    ]


def test_the_transcript_reads_like_the_wire() -> None:
    assert transcript(watched(EMPTY_DRIVE)) == (
        " +2.000000  plugged in: high speed, 3346:1009\n"
        " +3.000000  bus reset\n"
        " +4.000000  GET_DESCRIPTOR(DEVICE) type 80 value 0100 index 0000 length 18"
        ": success, 18 bytes in 1.000 s\n"
        " +6.000000  GET_DESCRIPTOR(CONFIGURATION) type 80 value 0200 index 0000 length 9"
        ": success, 9 bytes in 1.000 s\n"
        " +8.000000  GET_DESCRIPTOR(CONFIGURATION) type 80 value 0200 index 0000 length 32"
        ": success, 32 bytes in 1.000 s\n"
        "+10.000000  SET_CONFIGURATION(1) type 00 value 0001 index 0000 length 0"
        ": success, 0 bytes in 3.000 s\n"
        "+14.000000  LUN 0 INQUIRY [12 00 00 00 24 00], 36 bytes from drive"
        ": passed, 36 bytes in 5.000 s\n"
        "+20.000000  LUN 0 TEST UNIT READY [00 00 00 00 00 00]: failed, 0 bytes in 3.000 s\n"
        "+24.000000  LUN 0 REQUEST SENSE [03 00 00 00 12 00], 18 bytes from drive"
        ": passed, 18 bytes, 02/3A/00 NOT READY: MEDIUM NOT PRESENT in 5.000 s\n"
    )


def test_the_transcript_says_when_nothing_crossed() -> None:
    """SeaBIOS, with any composite device: what it asks is refused at once, and it waits."""
    asked = ControlRequest(1.0, 7, 0xA1, 0xFE, 0, 0, 1, "GET_MAX_LUN")
    stream = [
        asked,
        ControlReply(1.25, 7, "stall", 0),
        ScsiCommand(6.25, 1, 0, "INQUIRY", b"\x12", 36, True),
    ]
    assert transcript(stream) == (
        " +1.000000  GET_MAX_LUN type A1 value 0000 index 0000 length 1"
        ": stall, 0 bytes in 0.250 s\n"
        " +1.250000  nothing for 5.0 s, after the answer to GET_MAX_LUN to interface 0\n"
        " +6.250000  LUN 0 INQUIRY [12], 36 bytes from drive: no answer\n"
    )


def test_the_transcript_says_what_was_not_answered() -> None:
    text = transcript(watched([*PLUG, *INQUIRY[:2], *get_descriptor(5, 1, 8, DEVICE)[:1]]))
    assert "INQUIRY [12 00 00 00 24 00], 36 bytes from drive: no answer\n" in text
    assert "length 8: no answer\n" in text


def test_the_network_is_not_taken_for_a_drive() -> None:
    said = [
        *PLUG,
        *out(1, cbw(1, b"\x12\0\0\0\x24\0", 36), endpoint=0x02),
        *into(2, 13, csw(1), endpoint=0x82),
    ]
    assert [type(o) for o in watched(said)] == [Plugged]


def test_keys_are_no_observations() -> None:
    """That the host begins to poll for them is one (test_keyboard.py)."""
    key: Said = (GADGET, InterruptPacket(endpoint=0x81, length=8, data=bytes(8)))
    assert [type(o) for o in watched([*PLUG, key])] == [Plugged]


def test_a_long_data_phase_in_small_pieces_is_counted_and_its_head_kept() -> None:
    blocks = [bytes([i]) * 64 for i in range(16)]
    said = out(1, cbw(7, b"\x28\0\0\0\0\0\0\0\x02\0", 1024))
    for i, block in enumerate(blocks):
        said += into(100 + i, 64, block)
    said += into(1, 13, csw(7))
    (reply,) = replies(said)
    assert (reply.name, reply.status, reply.length, reply.data) == (
        "READ(10)",
        "passed",
        1024,
        b"".join(blocks[:8]),
    )


def test_data_that_looks_like_a_status_is_data_by_its_tag() -> None:
    said = [
        *out(1, cbw(7, b"\x28\0\0\0\0\0\0\0\x01\0", 26)),
        *into(2, 13, csw(99)),
        *into(2, 13, csw(98)),
        *into(2, 13, csw(7)),
    ]
    (reply,) = replies(said)
    assert (reply.status, reply.length) == ("passed", 26)


def test_writes_are_counted_by_what_was_taken() -> None:
    head, tail = bytes(range(64)) * 8, b"x" * 512
    command = BulkPacket(
        id=1, endpoint=3, length=31, data=cbw(7, b"\x2a\0\0\0\0\0\0\0\x02\0", 1024, to_host=False)
    )
    said: list[Said] = [
        (HOST, command),
        # QEMU's controllers queue the data behind the wrapper before that is answered.
        (HOST, BulkPacket(id=2, endpoint=3, length=512, data=head)),
        (GADGET, BulkPacket(id=1, endpoint=3, length=31)),
        (GADGET, BulkPacket(id=2, endpoint=3, length=512)),
        (HOST, BulkPacket(id=2, endpoint=3, length=512, data=tail)),
        (GADGET, BulkPacket(id=2, endpoint=3, length=0, status=Status.STALL)),
        *into(1, 13, csw(7, 1, 512)),
    ]
    (reply,) = replies(said)
    assert reply == ScsiReply(reply.at, 7, "WRITE(10)", "failed", 512, 512, head[:64])


def test_a_stall_ends_the_data_phase() -> None:
    read = out(1, cbw(7, b"\x28\0\0\0\0\0\0\0\x01\0", 512))
    said = [*read, *into(2, 512, b"", Status.STALL), *into(2, 13, csw(7, 1, 512))]
    (reply,) = replies(said)
    assert (reply.status, reply.residue, reply.length) == ("failed", 512, 0)


def test_after_a_stall_or_a_short_packet_only_a_status_can_come() -> None:
    """What comes then with a wrong tag is a bad status, not more data (BOT 6.3)."""
    read = out(1, cbw(7, b"\x28\0\0\0\0\0\0\0\x01\0", 512))
    (reply,) = replies([*read, *into(2, 512, b"", Status.STALL), *into(2, 13, csw(99))])
    assert (reply.status, reply.length) == ("phase error", 0)
    (reply,) = replies([*read, *into(2, 512, bytes(20)), *into(2, 13, csw(99))])
    assert (reply.status, reply.length) == ("phase error", 20)


def test_a_stalled_status_is_asked_for_again() -> None:
    said = [*TEST_UNIT_READY[:2], *into(5, 13, b"", Status.STALL), *into(6, 13, csw(11, 1))]
    assert [r.status for r in replies(said)] == ["failed"]


@pytest.mark.parametrize(
    "nonsense",
    [
        csw(11)[:12],
        b"",
        csw(999),
        b"USBX" + csw(11)[4:],
        csw(11) + b"x",
        bytes(64),
        csw(11, 2),
        csw(11, 7),
    ],
)
def test_nonsense_instead_of_a_status_is_a_phase_error(nonsense: bytes) -> None:
    (reply, after) = replies([*TEST_UNIT_READY[:2], *into(5, 64, nonsense), *REQUEST_SENSE])
    assert (reply.tag, reply.name, reply.status) == (11, "TEST UNIT READY", "phase error")
    assert (after.name, after.status) == ("REQUEST SENSE", "passed")


def test_a_status_without_a_command_is_noted() -> None:
    (reply,) = replies(into(5, 13, csw(77)))
    assert (reply.tag, reply.name, reply.status) == (77, "no command", "phase error")


@pytest.mark.parametrize(
    "ends",
    [
        [(HOST, Reset())],
        [(HOST, SetConfiguration(id=9, configuration=1))],
        no_data_request(9, 0x21, 0xFF, 0, 3),
    ],
    ids=["reset", "configuration", "bulk-only reset"],
)
def test_a_reset_ends_the_command(ends: list[Said]) -> None:
    """The next status is not the abandoned command's, whatever its tag says."""
    said = [*INQUIRY[:2], *ends, *into(5, 13, csw(10))]
    assert [r.name for r in replies(said)] == ["no command"]
    other = no_data_request(9, 0x21, 0xFF, 0, 2)
    assert [r.name for r in replies([*INQUIRY[:2], *other, *INQUIRY[2:]])] == ["INQUIRY"]


def test_unplugging_forgets_the_drive() -> None:
    seen = watched([*PLUG, (GADGET, DeviceDisconnect()), *INQUIRY])
    assert [type(o) for o in seen] == [Plugged, Unplugged]


def test_configuration_and_setting_are_control_requests() -> None:
    said: list[Said] = [
        (HOST, GetConfiguration(id=4)),
        (GADGET, ConfigurationStatus(id=4, status=0, configuration=1)),
        (HOST, SetAltSetting(id=5, interface=2, alt=1)),
        (GADGET, ConfigurationStatus(id=6, status=9, configuration=1)),
    ]
    assert watched(said) == [
        ControlRequest(0.0, 4, 0x80, 8, 0, 0, 1, "GET_CONFIGURATION"),
        ControlReply(1.0, 4, "success", 1),
        ControlRequest(2.0, 5, 0x01, 11, 1, 2, 0, "SET_INTERFACE"),
        ControlReply(3.0, 6, "error 9", 0),
    ]


# --- names ----------------------------------------------------------------------------------


class Named(NamedTuple):
    kind: int
    request: int
    value: int
    name: str


@pytest.mark.parametrize(
    "named",
    [
        Named(0x80, 6, 0x0100, "GET_DESCRIPTOR(DEVICE)"),
        Named(0x80, 6, 0x0303, "GET_DESCRIPTOR(STRING)"),
        Named(0x81, 6, 0x2200, "GET_DESCRIPTOR(REPORT)"),
        Named(0x80, 6, 0x7700, "GET_DESCRIPTOR(77h)"),
        Named(0x02, 1, 0, "CLEAR_FEATURE(ENDPOINT_HALT)"),
        Named(0x00, 3, 1, "SET_FEATURE(DEVICE_REMOTE_WAKEUP)"),
        Named(0x00, 9, 1, "SET_CONFIGURATION(1)"),
        Named(0xA1, 0xFE, 0, "GET_MAX_LUN"),
        Named(0x21, 0xFF, 0, "BULK_ONLY_RESET"),
        Named(0x21, 0x0A, 0, "SET_IDLE"),
        Named(0x21, 0x0B, 0, "SET_PROTOCOL"),
        Named(0x21, 0x09, 0x200, "SET_REPORT"),
        Named(0xC0, 0x09, 0, "request C0 09"),
        Named(0x21, 0x77, 0, "request 21 77"),
        Named(0x80, 0x77, 0, "request 80 77"),
    ],
)
def test_control_requests_by_name(named: Named) -> None:
    assert scsi.control_name(named.kind, named.request, named.value) == named.name


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (SENSE_3A, "02/3A/00 NOT READY: MEDIUM NOT PRESENT"),
        (bytes([0x71, 0, 6] + [0] * 9 + [0x29, 1]), "06/29/01 UNIT ATTENTION: POWER ON, RESET"),
        (bytes([0xF0, 0, 6] + [0] * 9 + [0x28, 0]), "06/28/00 UNIT ATTENTION: NOT READY TO READY"),
        (bytes([0x72, 5, 0x24, 0]), "05/24/00 ILLEGAL REQUEST: INVALID FIELD IN CDB"),
        (bytes([0x72, 5, 0x99, 1]), "05/99/01 ILLEGAL REQUEST"),
        (SENSE_3A[:13], "None"),
        (bytes(18), "None"),
        (b"", "None"),
    ],
)
def test_sense_in_words(data: bytes, words: str) -> None:
    assert str(scsi.parse_sense(data)).startswith(words)


def test_wrappers() -> None:
    assert scsi.CBW_SIGNATURE.to_bytes(4, "little") == b"USBC"
    assert scsi.CSW_SIGNATURE.to_bytes(4, "little") == b"USBS"
    wrapper = cbw(5, b"\x25" + bytes(9), 8, lun=1)
    assert scsi.parse_cbw(wrapper) == (5, 8, True, 1, b"\x25" + bytes(9))
    assert scsi.parse_cbw(wrapper[:30]) is None
    assert scsi.parse_cbw(b"USBS" + wrapper[4:]) is None
    assert scsi.command_name(b"\xee") == "command EEh"
    assert scsi.command_name(b"") == "empty command"


# --- the capture ----------------------------------------------------------------------------


class Event(NamedTuple):
    urb: int
    event: str
    kind: int
    endpoint: int
    device: int
    has_setup: bool
    flag_data: bytes
    at: float
    status: int
    length: int
    setup: bytes
    data: bytes
    missing: int


def packets(path: Path) -> Iterator[tuple[int, int, int, bytes]]:
    """Captured length, length, microseconds and bytes of each packet, by the pcapng draft.

    Read by hand: what writes the blocks does not check itself.
    """
    raw, place, kinds = path.read_bytes(), 0, []
    while place < len(raw):
        kind, length = struct.unpack_from("<II", raw, place)
        assert struct.unpack_from("<I", raw, place + length - 4) == (length,)
        assert length % 4 == 0
        kinds.append(kind)
        if kind == 1:
            assert struct.unpack_from("<HHI", raw, place + 8) == (220, 0, 64 + 64 * 1024)
        elif kind == 6:
            number, high, low, kept, whole = struct.unpack_from("<IIIII", raw, place + 8)
            assert number == 0
            yield kept, whole, high << 32 | low, raw[place + 28 : place + 28 + kept]
        place += length
    assert place == len(raw), "the file ends in the middle of a block"
    assert kinds[:2] == [0x0A0D0D0A, 1]


def captured(path: Path, said: list[Said]) -> list[Event]:
    """Write a capture and read it again, by usbmon.rst."""
    capture = Capture(path)
    for moment, (sender, packet) in enumerate(said):
        capture.write(packet, sender, 1_700_000_000.25 + moment)
    capture.close()
    events = []
    for kept, whole, stamp, record in packets(path):
        assert kept == len(record)
        urb, event, kind, endpoint, device, bus = struct.unpack_from("<QcBBBH", record)
        flag_setup, flag_data, sec, usec, status, length, data_length = struct.unpack_from(
            "<BcqiiII", record, 14
        )
        assert (sec * 1_000_000 + usec, bus, data_length) == (stamp, 1, kept - 64)
        events.append(
            Event(
                urb,
                event.decode(),
                kind,
                endpoint,
                device,
                flag_setup == 0,
                flag_data,
                sec + usec / 1e6 - 1_700_000_000,
                status,
                length,
                record[40:48],
                record[64:],
                whole - kept,
            )
        )
    return events


def test_every_completion_names_its_submission(tmp_path: Path) -> None:
    events = captured(tmp_path / "wire.pcapng", EMPTY_DRIVE)
    assert [e.event for e in events] == ["S", "C"] * (len(events) // 2)
    pairs = list(zip(events[::2], events[1::2], strict=True))
    assert all(s.urb == c.urb and s.endpoint == c.endpoint for s, c in pairs)
    assert len({s.urb for s, _ in pairs}) == len(pairs), "ids of the wire come again, urbs do not"
    assert all(s.status == -115 and c.status == 0 for s, c in pairs)
    assert {e.device for e in events} == {1}
    submit, complete = pairs[0]
    assert submit.has_setup
    assert submit.setup == bytes.fromhex("8006000100001200")
    assert (submit.kind, submit.flag_data, submit.length) == (2, b"<", 18)
    assert (complete.has_setup, complete.flag_data, complete.data) == (False, b"\0", DEVICE)
    assert submit.at == pytest.approx(4.25)


def test_set_configuration_becomes_a_control_transfer(tmp_path: Path) -> None:
    said: list[Said] = [
        (HOST, SetConfiguration(id=1, configuration=1)),
        (GADGET, ConfigurationStatus(id=1, status=0, configuration=1)),
        (HOST, GetConfiguration(id=1)),
        (GADGET, ConfigurationStatus(id=1, status=0, configuration=1)),
    ]
    was, done, asked, told = captured(tmp_path / "wire.pcapng", said)
    assert (was.setup, was.endpoint) == (bytes.fromhex("0009010000000000"), 0)
    assert (done.endpoint, done.length, done.data) == (0, 0, b"")
    assert (asked.setup, asked.endpoint) == (bytes.fromhex("8008000000000100"), 0x80)
    assert (told.endpoint, told.data) == (0x80, b"\x01")


def test_interrupts_are_pairs_and_plugs_are_devices(tmp_path: Path) -> None:
    key: Said = (GADGET, InterruptPacket(endpoint=0x81, length=8, data=b"12345678"))
    events = captured(tmp_path / "wire.pcapng", [*PLUG, key, *PLUG, key])
    assert [(e.event, e.kind, e.device) for e in events] == [
        ("S", 1, 1),
        ("C", 1, 1),
        ("S", 1, 2),
        ("C", 1, 2),
    ]
    assert events[1].data == b"12345678"


def test_failures_have_the_kernels_numbers(tmp_path: Path) -> None:
    said: list[Said] = []
    for status in (1, 2, 3, 4, 5, 6, 99):
        said += into(status, 512, b"", status)
    events = captured(tmp_path / "wire.pcapng", said)
    assert [e.status for e in events if e.event == "C"] == [
        -104, -22, -71, -32, -110, -75, -71,
    ]  # fmt: skip
    assert {e.flag_data for e in events} == {b"<"}


def test_an_id_used_twice_at_once_is_answered_in_order(tmp_path: Path) -> None:
    ask, answer = into(1, 512, b"data")
    cancelled = into(1, 512, b"", Status.CANCELLED)[1]
    events = captured(tmp_path / "wire.pcapng", [ask, ask, cancelled, answer, answer])
    first, second, gave_up, done = events
    assert first.urb == gave_up.urb
    assert second.urb == done.urb


def test_what_the_old_device_left_open_is_not_the_new_ones(tmp_path: Path) -> None:
    ask, answer = into(1, 512, b"data")
    first, second, done = captured(tmp_path / "wire.pcapng", [*PLUG, ask, *PLUG, ask, answer])
    assert (first.urb != second.urb, second.urb) == (True, done.urb)


def test_long_transfers_are_cut_and_say_so(tmp_path: Path) -> None:
    data = bytes(range(256)) * 400
    events = captured(tmp_path / "wire.pcapng", into(1, len(data), data))
    assert events[1].data == data[:SNAP_LENGTH]
    assert (events[1].missing, events[1].length) == (len(data) - SNAP_LENGTH, len(data))


def test_the_file_grows_while_it_happens(tmp_path: Path) -> None:
    path = tmp_path / "wire.pcapng"
    capture = Capture(path)
    capture.write(into(1, 512, b"")[0][1], HOST, 0.0)
    capture.flush()
    assert len(list(packets(path))) == 1
    capture.close()


def test_what_was_bent_is_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "wire.pcapng"
    capture = Capture(path)
    (sender, packet), *_ = into(1, 512, b"")
    capture.write(packet, sender, 0.0, "bent: twice")
    capture.write(packet, sender, 0.0)
    capture.close()
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "frame.comment"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["bent: twice", ""]


def test_a_bent_answer_to_nothing_is_written_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "wire.pcapng"
    capture = Capture(path)
    answer = into(1, 512, b"data")[1][1]
    capture.write(answer, GADGET, 0.0)
    capture.write(answer, GADGET, 0.0, "bent: twice")
    capture.write(answer, GADGET, 0.0)
    capture.close()
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "frame.comment"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["bent: twice"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CableError, match="cannot be written"):
        Capture(tmp_path / "none" / "wire.pcapng")


def test_wireshark_reads_it_down_to_scsi(tmp_path: Path) -> None:
    path = tmp_path / "wire.pcapng"
    captured(path, EMPTY_DRIVE)
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    command += ["-e", "frame.number", "-e", "_ws.malformed", "-e", "_ws.col.Info"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    assert len(rows) == 24
    assert not [row for row in rows if row[1]], "malformed for Wireshark"
    words = "\n".join(row[2] for row in rows)
    for part in ("SET CONFIGURATION", "Inquiry", "Test Unit Ready", "Request Sense"):
        assert part in words, words
    assert "Check Condition" in words
    assert sum("SCSI: " in row[2] for row in rows) == 8


# --- what goes wrong, in words ----------------------------------------------------------------


def told(*said: list[Said]) -> list[str]:
    """The transcript of a drive that is asked this, without the times."""
    stream = watched([*PLUG, *(each for part in said for each in part)])
    return [line.split("  ", 1)[1].strip() for line in transcript(stream).splitlines()][1:]


def test_stalls_are_in_the_transcript() -> None:
    stalled_command = out(2, cbw(10, b"\x12\0\0\0\x24\0", 36))[:1]
    refused: list[Said] = [(GADGET, BulkPacket(id=2, endpoint=0x03, status=Status.STALL))]
    assert told(stalled_command, refused)[-1] == "endpoint 03 stalls"
    asked = out(2, cbw(10, b"\x12\0\0\0\x24\0", 36))
    lines = told(asked, into(3, 36, b"", Status.STALL), into(2, 13, csw(10, 1)))
    assert [line for line in lines if "stalls" in line] == ["endpoint 83 stalls"]
    network: list[Said] = into(3, 512, b"", Status.STALL, endpoint=0x82)
    assert told(network) == [], "of another interface"


def test_what_the_host_gives_up_is_in_the_transcript() -> None:
    asked = out(2, cbw(10, b"\x12\0\0\0\x24\0", 36))
    data = into(7, 36, b"")[:1]
    lines = told(asked, data, [(HOST, CancelDataPacket(id=7))])
    assert lines[-1] == "the host gives up INQUIRY"
    question = get_descriptor(9, 1, 18, DEVICE)
    lines = told(question[:1], [(HOST, CancelDataPacket(id=9))])
    assert lines[-1] == "the host gives up GET_DESCRIPTOR(DEVICE)"
    lines = told(question, [(HOST, CancelDataPacket(id=9))])
    assert lines[-1] == "the host gives up a transfer", "that was answered"


def test_a_command_without_an_answer_says_so_though_its_tag_comes_again() -> None:
    """SeaBIOS gives all of them one."""
    asked = out(2, cbw(10, b"\x12\0\0\0\x24\0", 36))
    again = [*out(2, cbw(10, bytes(6))), *into(2, 13, csw(10))]
    first, *_, second = told(asked, [(HOST, Reset())], again)
    assert first.endswith("no answer")
    assert "passed" in second
