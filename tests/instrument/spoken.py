"""Packets of usbredir, made up: each is one that its sender may say under these capabilities."""

from __future__ import annotations

from random import Random
from typing import Any

from harness.cable import usbredir
from harness.cable.usbredir import (
    MAX_DATA,
    PACKETS,
    BulkPacket,
    Cap,
    Caps,
    ControlPacket,
    DeviceConnect,
    Endpoint,
    EpInfo,
    FilterFilter,
    Hello,
    Interface,
    InterfaceInfo,
    InterruptPacket,
    Packet,
    Side,
    Transfer,
)

_ALL = [PACKETS[code] for code in sorted(PACKETS)]
_BITS = {"B": 8, "H": 16, "I": 32}


def announced(random: Random) -> Caps:
    """What two ends have announced, as their hellos are understood."""
    host, gadget = (Hello(version="", words=(random.getrandbits(8),)) for _ in Side)
    return Caps(host.caps, gadget.caps)


def spoken(random: Random, sender: Side, caps: Caps) -> Packet:
    """A packet of any kind that `sender` may say."""
    receiver = caps.of(sender.other)
    return _made(
        random,
        random.choice([c for c in _ALL if c.sender in (None, sender) and c.needs in receiver]),
        sender,
        caps,
    )


def _made(random: Random, cls: type[Packet], sender: Side, caps: Caps) -> Packet:
    wide = Cap.IDS_64BITS in caps.shared and cls is not Hello
    fields: dict[str, Any] = {"id": random.getrandbits(64 if wide else 32)}
    if cls is Hello:
        fields["version"] = "".join(chr(random.randint(1, 255)) for _ in range(_up_to(random, 63)))
        fields["words"] = tuple(random.getrandbits(32) for _ in range(_up_to(random, 16)))
    elif cls is FilterFilter:
        fields["rules"] = "|".join(_rule(random) for _ in range(random.randint(1, 4)))
    elif cls is InterfaceInfo:
        rows = range(_up_to(random, 32))
        fields["interfaces"] = tuple(Interface(*random.randbytes(4)) for _ in rows)
    elif cls is EpInfo:
        fields["endpoints"] = tuple(_endpoint(random, caps.shared) for _ in range(32))
    elif cls is DeviceConnect:
        for name in ("speed", "device_class", "device_subclass", "device_protocol"):
            fields[name] = random.getrandbits(8)
        fields |= {"vendor_id": random.getrandbits(16), "product_id": random.getrandbits(16)}
        if Cap.CONNECT_DEVICE_VERSION in caps.shared:
            fields["device_version_bcd"] = random.getrandbits(16)
    elif issubclass(cls, Transfer):
        fields |= _transfer(random, cls, sender, caps.shared)
    else:
        widths = cls.layout(caps.shared).format.lstrip("<")
        for name, width in zip(usbredir._FIELDS[cls], widths, strict=True):
            fields[name] = random.getrandbits(_BITS[width])
        if "Receiving" in cls.__name__:
            fields["endpoint"] |= 0x80
        if "bytes_per_transfer" in fields:
            fields["bytes_per_transfer"] %= MAX_DATA + 1
    return cls(**fields)


def _up_to(random: Random, most: int) -> int:
    """Any number from 0 to `most`, both ends often."""
    return random.choice((0, most, random.randint(0, most)))


def _rule(random: Random) -> str:
    """As usbredirfilter_rules_to_string writes it: class, vendor, product, version, allow."""
    digits = [random.choice((0, count)) for count in (2, 4, 4, 4)]
    numbers = [f"0x{random.getrandbits(4 * n):0{n}x}" if n else "-1" for n in digits]
    return ",".join([*numbers, random.choice("01")])


def _endpoint(random: Random, shared: Cap) -> Endpoint:
    kind, interval, interface = random.randbytes(3)
    return Endpoint(
        kind,
        interval,
        interface,
        random.getrandbits(16) if Cap.EP_INFO_MAX_PACKET_SIZE in shared else None,
        random.getrandbits(32) if Cap.BULK_STREAMS in shared else None,
    )


def _transfer(random: Random, cls: type[Transfer], sender: Side, shared: Cap) -> dict[str, object]:
    inward = random.random() < 0.5
    if cls is usbredir.IsoPacket:
        inward = sender is Side.GADGET
    elif cls is InterruptPacket and sender is Side.HOST:
        inward = False
    elif cls is usbredir.BufferedBulkPacket:
        inward = True
    long = cls is usbredir.BufferedBulkPacket
    long |= cls is BulkPacket and Cap.BULK_LENGTH_32BITS in shared
    fields: dict[str, object] = {
        "endpoint": random.getrandbits(7) | inward << 7,
        "status": random.getrandbits(8),
    }
    if (sender is Side.GADGET) == inward:
        data = random.randbytes(_up_to(random, 300))
        fields |= {"data": data, "length": len(data)}
    else:
        fields["length"] = _up_to(random, MAX_DATA if long else 0xFFFF)
    if cls is ControlPacket:
        fields |= {"request": random.getrandbits(8), "requesttype": random.getrandbits(8)}
        fields |= {"value": random.getrandbits(16), "index": random.getrandbits(16)}
    if cls in (BulkPacket, usbredir.BufferedBulkPacket):
        fields["stream_id"] = random.getrandbits(32)
    return fields
