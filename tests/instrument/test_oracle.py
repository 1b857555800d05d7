"""The codec and the real libusbredirparser agree, packet by packet."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from oracle import Heard, Oracle, agrees, as_heard
from spoken import announced, spoken

from harness.cable.usbredir import (
    Cap,
    Caps,
    DeviceDisconnect,
    DeviceDisconnectAck,
    Hello,
    Packet,
    Parser,
    Side,
    encode,
)
from harness.errors import CableError


def conversation(seed: int, count: int) -> tuple[Side, Caps, list[Packet]]:
    """Packets that one end says after both hellos."""
    random = Random(seed)
    caps, sender = announced(random), random.choice(list(Side))
    packets = [spoken(random, sender, caps) for _ in range(count)]
    # A second hello would change what both go by.
    return sender, caps, [p for p in packets if not isinstance(p, Hello)]


@pytest.mark.parametrize("start", range(0, 108, 27))
def test_what_the_codec_says_the_library_hears_and_would_say(start: int) -> None:
    """At least 100,000 packets in all: a hello among a hundred kinds is left out."""
    count = 0
    for seed in range(start, start + 27):
        sender, caps, packets = conversation(seed, 1000)
        listener, speaker = Oracle(sender.other, caps), Oracle(sender, caps)
        for packet in packets:
            count += 1
            ours = as_heard(packet, caps.shared)
            assert listener.feed(encode(packet, sender, caps)), (packet, listener.complaints)
            (theirs,) = listener.heard
            listener.heard.clear()
            assert agrees(ours, theirs), (packet, theirs)
            # Its functions give packets without an answer the id 0.
            plain = dataclasses.replace(packet, id=ours.id)
            if not isinstance(packet, DeviceDisconnectAck):
                assert speaker.say(ours) == encode(plain, sender, caps), packet
            acknowledged = isinstance(packet, DeviceDisconnect) and (
                Cap.DEVICE_DISCONNECT_ACK in caps.of(sender)
            )
            ack = encode(DeviceDisconnectAck(), sender.other, caps) if acknowledged else b""
            assert listener.said() == ack, packet
        listener.close()
        speaker.close()
    assert count > 25_000


def broken(random: Random, wire: bytes) -> bytes:
    """A byte changed, bytes lost, bytes doubled, or noise among them."""
    at, count = random.randrange(len(wire)), random.choice((1, 2, 4, 12, 100))
    match random.randrange(5):
        case 0:
            return wire[:at] + random.randbytes(1) + wire[at + 1 :]
        case 1:
            return wire[:at] + bytes([wire[at] ^ 1 << random.randrange(8)]) + wire[at + 1 :]
        case 2:
            return wire[:at] + wire[at + count :]
        case 3:
            return wire[:at] + wire[at : at + count] + wire[at:]
    return wire[:at] + random.randbytes(count) + wire[at:]


def heard_by_codec(sender: Side, caps: Caps, wire: bytes) -> tuple[list[Heard], str]:
    """What it makes of the bytes, and its complaint."""
    heard: list[Heard] = []
    try:
        for packet in Parser(sender, caps).feed(wire):
            if isinstance(packet, Hello):
                return heard, "a second hello: the library ignores it, the relay looks into it"
            heard.append(as_heard(packet, caps.shared))
    except CableError as error:
        return heard, str(error)
    return heard, ""


@pytest.mark.parametrize("start", range(0, 1000, 500))
def test_what_is_broken_is_refused_by_both_or_by_the_codec(start: int) -> None:
    """Up to the first refusal both hear the same; what the library refuses, the codec refuses."""
    refused = stricter = 0
    for seed in range(start, start + 500):
        random = Random(seed)
        sender, caps, packets = conversation(seed, 6)
        wire = b"".join(encode(p, sender, caps) for p in packets)
        for _ in range(random.randint(1, 3)):
            wire = broken(random, wire) or b"\0"
        ours, complaint = heard_by_codec(sender, caps, wire)
        oracle = Oracle(sender.other, caps)
        fine = oracle.feed(wire)
        theirs = oracle.heard
        assert len(ours) <= len(theirs), (seed, ours, theirs)
        for one, other in zip(ours, theirs, strict=False):
            assert agrees(one, other), (seed, one, other)
        if not fine:
            assert complaint, (seed, oracle.complaints)
        if not complaint:
            assert len(ours) == len(theirs), (seed, ours, theirs)
        refused += not fine
        stricter += fine and bool(complaint)
        oracle.close()
    assert refused > 250, "the library was asked next to nothing"
    assert stricter < refused / 10, "the codec refuses what others take"
