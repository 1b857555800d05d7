"""The usbredir codec: every packet, every layout, any pieces; and what it refuses."""

from __future__ import annotations

import itertools
import struct
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoken import announced, spoken

from harness.cable import usbredir
from harness.cable.usbredir import (
    MAX_DATA,
    PACKETS,
    BulkPacket,
    BulkReceivingStatus,
    Cap,
    Caps,
    ControlPacket,
    DeviceConnect,
    DeviceDisconnect,
    Endpoint,
    EpInfo,
    Hello,
    Interface,
    InterfaceInfo,
    Packet,
    Parser,
    Reset,
    SetConfiguration,
    Side,
    encode,
)
from harness.errors import CableError

ALL = Caps(Cap(0xFF), Cap(0xFF))
NOTHING = Caps()

# --- bytes made by hand, from usbredirproto.h ------------------------------------------------

GOLDEN: list[tuple[str, Side, Caps, Packet, str]] = [
    (
        "QEMU 7.2's hello, as it was seen on its socket",
        Side.HOST,
        NOTHING,
        Hello(version="qemu usb-redir guest 7.2.22", words=(0xFF,)),
        "00000000 44000000 00000000"
        + b"qemu usb-redir guest 7.2.22".ljust(64, b"\0").hex()
        + "ff000000",
    ),
    (
        "a hello keeps its 12-byte header",
        Side.GADGET,
        ALL,
        Hello(version="x", words=(0xFF,)),
        "00000000 44000000 00000000" + b"x".ljust(64, b"\0").hex() + "ff000000",
    ),
    (
        "32-bit ids",
        Side.HOST,
        NOTHING,
        SetConfiguration(id=5, configuration=1),
        "06000000 01000000 05000000 01",
    ),
    (
        "64-bit ids",
        Side.HOST,
        ALL,
        SetConfiguration(id=5 << 32, configuration=1),
        "06000000 01000000 0000000005000000 01",
    ),
    (
        "device_connect without a version",
        Side.GADGET,
        NOTHING,
        DeviceConnect(
            speed=2,
            device_class=1,
            device_subclass=3,
            device_protocol=4,
            vendor_id=0x3346,
            product_id=0x1009,
        ),
        "01000000 08000000 00000000 02010304 4633 0910",
    ),
    (
        "device_connect with one",
        Side.GADGET,
        ALL,
        DeviceConnect(
            speed=2,
            device_class=1,
            device_subclass=3,
            device_protocol=4,
            vendor_id=0x3346,
            product_id=0x1009,
            device_version_bcd=0x0510,
        ),
        "01000000 0a000000 0000000000000000 02010304 4633 0910 1005",
    ),
    (
        "GET_DESCRIPTOR",
        Side.HOST,
        ALL,
        ControlPacket(
            id=9, endpoint=0x80, requesttype=0x80, request=6, value=0x100, index=2, length=18
        ),
        "64000000 0a000000 0900000000000000 80 06 80 00 0001 0200 1200",
    ),
    (
        "bulk with a 16-bit length",
        Side.HOST,
        NOTHING,
        BulkPacket(id=9, endpoint=0x02, length=3, stream_id=7, data=b"abc"),
        "65000000 0b000000 09000000 02 00 0300 07000000 616263",
    ),
    (
        "bulk with a 32-bit length",
        Side.HOST,
        ALL,
        BulkPacket(id=9, endpoint=0x81, length=0x20003),
        "65000000 0a000000 0900000000000000 81 00 0300 00000000 0200",
    ),
    (
        "buffered bulk, whose fields have an order of their own",
        Side.GADGET,
        ALL,
        usbredir.BufferedBulkPacket(endpoint=0x81, status=1, length=2, stream_id=3, data=b"ab"),
        "68000000 0c000000 0000000000000000 03000000 02000000 81 01 6162",
    ),
]


@pytest.mark.parametrize(
    ("sender", "caps", "packet", "text"), [g[1:] for g in GOLDEN], ids=[g[0] for g in GOLDEN]
)
def test_bytes_made_by_hand(sender: Side, caps: Caps, packet: Packet, text: str) -> None:
    wire = bytes.fromhex(text.replace(" ", ""))
    assert encode(packet, sender, caps).hex() == wire.hex()
    (parsed,) = Parser(sender, caps).feed(wire)
    assert parsed == packet
    assert parsed.raw == wire


def test_ep_info_columns() -> None:
    first = Endpoint(0, 1, 2, 0x0304, 5)
    info = EpInfo(endpoints=(first,) + (Endpoint(255, 0, 0, 0, 0),) * 31)
    wire = encode(info, Side.GADGET, ALL)
    assert len(wire) == 16 + 288
    assert [wire[16], wire[48], wire[80]] == [0, 1, 2]
    assert wire[112:114] == b"\x04\x03"
    assert wire[176:180] == b"\x05\0\0\0"
    assert info.at(0x00) == first
    assert EpInfo(endpoints=tuple(Endpoint(i, 0, 0) for i in range(32))).at(0x8F).type == 31


def test_interface_info_ignores_what_lies_beyond_the_count() -> None:
    wire = bytearray(encode(InterfaceInfo(interfaces=(Interface(1, 8, 6, 80),)), Side.GADGET))
    wire[12 + 4 + 1] = 99
    (parsed,) = Parser(Side.GADGET).feed(bytes(wire))
    assert parsed == InterfaceInfo(interfaces=(Interface(1, 8, 6, 80),))
    assert parsed.raw == wire, "forwarding keeps what parsing ignores"


def test_every_packet_of_the_protocol_is_there() -> None:
    assert sorted(PACKETS) == [*range(28), *range(100, 105)]


def test_bulk_streams_do_not_count_without_packet_sizes() -> None:
    assert Hello(version="", words=(0x01,)).caps == Cap(0)
    assert Hello(version="", words=(0x11, 0xFFFF)).caps == Cap(0x11)
    assert Hello(version="", words=()).caps == Cap(0)


# --- round trips ----------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.data())
def test_what_is_said_is_heard(random: Random, data: st.DataObject) -> None:
    sender, caps = random.choice(list(Side)), announced(random)
    packet = spoken(random, sender, caps)
    wire = encode(packet, sender, caps)
    twice = wire * 2
    cuts = sorted(data.draw(st.lists(st.integers(0, len(twice)), max_size=6)))
    parser = Parser(sender, caps)
    heard: list[Packet] = []
    for begin, end in zip([0, *cuts], [*cuts, len(twice)], strict=True):
        heard += parser.feed(twice[begin:end])
    assert heard == [packet, packet]
    assert [h.raw for h in heard] == [wire, wire]
    assert parser.pending == 0
    assert encode(heard[0], sender, caps) == wire


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(Side), st.binary(max_size=200), st.integers(0, 255), st.integers(0, 255))
def test_noise_is_refused_or_understood(side: Side, noise: bytes, host: int, gadget: int) -> None:
    """Never another exception, nothing made up, and never more bytes kept than were given."""
    parser = Parser(side, Caps(Cap(host), Cap(gadget)))
    try:
        heard = [packet.raw for packet in parser.feed(noise)]
    except CableError:
        heard = []
    assert noise.startswith(b"".join(heard))
    assert parser.pending <= len(noise)


# --- what is refused ------------------------------------------------------------------------


def refused(sender: Side, caps: Caps, wire: bytes) -> str:
    parser = Parser(sender, caps)
    with pytest.raises(CableError) as caught:
        list(parser.feed(wire))
    with pytest.raises(CableError):
        list(parser.feed(b""))
    return str(caught.value)


def header(code: int, length: int) -> bytes:
    return struct.pack("<III", code, length, 0)


def test_unknown_type_is_refused_on_its_header() -> None:
    assert "of type 28" in refused(Side.GADGET, NOTHING, header(28, 0)[:8])


@pytest.mark.parametrize("length", [0, 2])
def test_wrong_length_is_refused(length: int) -> None:
    assert "SetConfiguration" in refused(Side.HOST, NOTHING, header(6, length)[:8])


@pytest.mark.parametrize("code", [0, 23, 100, 101, 103])
@pytest.mark.parametrize("length", [MAX_DATA + 200, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_hostile_length_is_refused_before_anything_is_kept(code: int, length: int) -> None:
    refused(Side.GADGET, ALL, header(code, length)[:8])


@pytest.mark.parametrize(
    ("sender", "packet"), [(Side.GADGET, Reset()), (Side.HOST, DeviceDisconnect())]
)
def test_the_wrong_end_is_refused(sender: Side, packet: Packet) -> None:
    wire = encode(packet, sender.other)
    assert "only the other end" in refused(sender, NOTHING, wire)
    with pytest.raises(CableError, match="only the other end"):
        encode(packet, sender)


def test_data_against_the_direction_is_refused() -> None:
    wire = header(101, 8 + 1) + struct.pack("<BBHI", 0x81, 0, 1, 0) + b"x"
    assert "against the endpoint's direction" in refused(Side.HOST, NOTHING, wire)
    wire = header(101, 8 + 1) + struct.pack("<BBHI", 0x01, 0, 1, 0) + b"x"
    assert "against the endpoint's direction" in refused(Side.GADGET, NOTHING, wire)


@pytest.mark.parametrize("announced", [0, 2, 0xFFFF])
def test_more_or_less_data_than_announced_is_refused(announced: int) -> None:
    wire = header(101, 8 + 1) + struct.pack("<BBHI", 0x81, 0, announced, 0) + b"x"
    assert f"where {announced} are announced" in refused(Side.GADGET, NOTHING, wire)


def test_an_announced_length_beyond_the_limit_is_refused() -> None:
    wire = struct.pack("<IIQBBHIH", 101, 10, 1, 0x81, 0, 0, 0, (MAX_DATA >> 16) + 1)
    assert str(MAX_DATA) in refused(Side.HOST, ALL, wire)


def test_interrupt_and_iso_against_the_direction_are_refused() -> None:
    body = struct.pack("<BBH", 0x81, 0, 0)
    assert "direction" in refused(Side.HOST, NOTHING, header(103, 4) + body)
    assert "direction" in refused(Side.HOST, NOTHING, header(102, 4) + body)
    body = struct.pack("<BBH", 0x01, 0, 0)
    assert "direction" in refused(Side.GADGET, NOTHING, header(102, 4) + body)
    list(Parser(Side.GADGET).feed(header(103, 4) + body))  # the answer to an OUT transfer


def test_output_endpoints_cannot_be_received() -> None:
    assert "not an input" in refused(Side.HOST, NOTHING, header(15, 1) + b"\x01")


def test_packets_that_were_not_announced_are_refused() -> None:
    caps = Caps(host=Cap(0), gadget=Cap(0xFF))
    status = BulkReceivingStatus(stream_id=0, endpoint=0x81, status=0)
    with pytest.raises(CableError, match="BULK_RECEIVING"):
        encode(status, Side.GADGET, caps)
    encode(status, Side.GADGET, Caps(host=Cap.BULK_RECEIVING))


def test_too_many_interfaces_are_refused() -> None:
    wire = header(4, 132) + struct.pack("<I", 33) + bytes(128)
    assert "33 interfaces" in refused(Side.GADGET, NOTHING, wire)


@pytest.mark.parametrize("rules", [b"", b"0x03,-1,-1,-1,0"])
def test_a_filter_without_its_zero_is_refused(rules: bytes) -> None:
    wire = struct.pack("<IIQ", 23, len(rules), 0) + rules
    assert "zero byte" in refused(Side.HOST, ALL, wire)


def test_half_a_word_of_capabilities_is_refused() -> None:
    assert "66 bytes" in refused(Side.HOST, NOTHING, header(0, 64 + 66) + bytes(64 + 66))
    assert "3 bytes" in refused(Side.HOST, NOTHING, header(0, 64 + 3) + bytes(64 + 3))


def test_a_truncated_packet_is_pending() -> None:
    wire = encode(BulkPacket(endpoint=0x81, length=3, data=b"abc"), Side.GADGET, ALL)
    parser = Parser(Side.GADGET, ALL)
    assert list(parser.feed(wire[:-1])) == []
    assert parser.pending == len(wire) - 1


def test_capabilities_may_change_between_two_packets() -> None:
    hello = Hello(version="x", words=(0xFF,))
    wire = encode(hello, Side.HOST) + encode(Reset(id=1 << 40), Side.HOST, ALL)
    parser = Parser(Side.HOST)
    heard = []
    for packet in parser.feed(wire):
        parser.caps = ALL
        heard.append(packet)
    assert heard == [hello, Reset(id=1 << 40)]


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=3))
def test_a_hello_is_found_behind_the_rest_of_a_broken_packet(rest: bytes, cuts: list[int]) -> None:
    hello = Hello(version="new", words=(0xFF,))
    parser = Parser(Side.GADGET, ALL)
    list(parser.feed(encode(BulkPacket(endpoint=0x81, length=2, data=b"ab"), Side.GADGET, ALL)[:9]))
    parser.seek_hello()
    wire = rest + encode(hello, Side.GADGET)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    heard: list[Packet] = []
    for begin, end in itertools.pairwise(edges):
        heard += parser.feed(wire[begin:end])
    assert heard == [hello]
