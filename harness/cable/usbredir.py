"""The usbredir protocol, version 0.7.1: what the cable's two ends say to each other.

Layouts are those of usbredirproto.h (package libusbredirparser-dev) and of
docs/usb-redirection-protocol.md in the usbredir sources; which layout is in force, and
which packets may be sent which way, follows usbredirparser.c. Everything is little
endian and packed.

The protocol's words differ from ours: its "usb-host" is the end that has the device (our
gadget), its "usb-guest" is the end that uses the device (our host).
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, IntFlag
from typing import Any, ClassVar, NamedTuple, NoReturn, Self

from harness.errors import CableError

Data = bytes | memoryview

MAX_DATA = 16 * 1024 * 1024
"""The longest payload that is believed, in bytes.

usbredirparser.c takes 128 MiB. The gadget's end submits each transfer through usbfs,
which refuses more than usbfs_memory_mb (16 MiB unless told otherwise, Documentation/
admin-guide/kernel-parameters.txt), so a longer one cannot be carried out anyway.
"""

HELLO_START = struct.pack("<III", 0, 64 + 4, 0)
"""How every hello begins: type 0, one word of capabilities (USB_REDIR_CAPS_SIZE), id 0."""


class Side(Enum):
    """The two ends of the cable."""

    HOST = "host"
    GADGET = "gadget"

    @property
    def other(self) -> Side:
        """The opposite end."""
        return Side.GADGET if self is Side.HOST else Side.HOST


class Cap(IntFlag):
    """Capabilities announced in a hello (usbredirproto.h, usb_redir_cap_*)."""

    BULK_STREAMS = 1 << 0
    CONNECT_DEVICE_VERSION = 1 << 1
    FILTER = 1 << 2
    DEVICE_DISCONNECT_ACK = 1 << 3
    EP_INFO_MAX_PACKET_SIZE = 1 << 4
    IDS_64BITS = 1 << 5
    BULK_LENGTH_32BITS = 1 << 6
    BULK_RECEIVING = 1 << 7


NO_CAPS = Cap(0)


class Caps(NamedTuple):
    """What each end has announced; nothing before its hello has been heard."""

    host: Cap = NO_CAPS
    gadget: Cap = NO_CAPS

    @property
    def shared(self) -> Cap:
        """What both have: this alone decides about layouts."""
        return self.host & self.gadget

    def of(self, side: Side) -> Cap:
        """What one end has announced."""
        return self.host if side is Side.HOST else self.gadget


class Status(IntEnum):
    """How a request ended (usb_redir_success and so on); other values mean an error too."""

    SUCCESS = 0
    CANCELLED = 1
    INVAL = 2
    IOERROR = 3
    STALL = 4
    TIMEOUT = 5
    BABBLE = 6


class TransferType(IntEnum):
    """Kinds of endpoint (usb_redir_type_*)."""

    CONTROL = 0
    ISO = 1
    BULK = 2
    INTERRUPT = 3
    INVALID = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One packet. `id` ties an answer to its request; unsolicited packets have 0.

    `raw` holds the bytes it was read from, header included, so that passing it on needs no
    encoding; it is empty in a packet made here. Two packets are equal when they say the same.
    """

    code: ClassVar[int]
    """The number of the type on the wire."""
    sender: ClassVar[Side | None] = None
    """The only end that may send it; None for both."""
    needs: ClassVar[Cap] = NO_CAPS
    """What its receiver must have announced."""
    carries: ClassVar[bool] = False
    """Whether bytes of any number may follow the fixed part."""

    id: int = 0
    raw: bytes = field(default=b"", compare=False, repr=False)

    _plain: ClassVar[struct.Struct] = struct.Struct("<")

    @classmethod
    def layout(cls, shared: Cap) -> struct.Struct:
        """The fixed part, given what both ends have announced."""
        return cls._plain

    @classmethod
    def _made(cls, ident: int, raw: bytes, values: Sequence[Any], data: memoryview) -> Self:
        """A packet that was read: its id, its bytes, its fixed part and what follows that."""
        return cls(id=ident, raw=raw, **cls._read(values, data))

    @classmethod
    def _read(cls, values: Sequence[Any], data: memoryview) -> dict[str, Any]:
        """Turn the fixed part and what follows it into this class's fields."""
        return dict(zip(_FIELDS[cls], values, strict=True))

    def _write(self, shared: Cap) -> tuple[tuple[Any, ...], Data]:
        """Turn the fields into the fixed part's values and what follows it."""
        return tuple(getattr(self, name) for name in _FIELDS[type(self)]), b""

    def complaint(self, sender: Side) -> str | None:
        """What is wrong with this packet, coming from that end; None if nothing is."""
        return None


# --- the link itself ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Packet):
    """First words of either end: a free text of up to 63 bytes, and its capabilities.

    Its header always has a 32-bit id: nobody knows yet what the other end can read.
    """

    code: ClassVar[int] = 0
    carries: ClassVar[bool] = True
    _plain: ClassVar[struct.Struct] = struct.Struct("<64s")
    version: str
    words: tuple[int, ...]

    @property
    def caps(self) -> Cap:
        """The capabilities; later words and unknown bits have no meaning yet.

        Bulk streams are announced by mistake without the endpoints' packet sizes; as in
        usbredirparser.c (verify_caps) they do not count then.
        """
        caps = Cap(self.words[0] & 0xFF) if self.words else NO_CAPS
        if Cap.EP_INFO_MAX_PACKET_SIZE not in caps:
            caps &= ~Cap.BULK_STREAMS
        return caps

    @classmethod
    def _read(cls, values: Sequence[Any], data: memoryview) -> dict[str, Any]:
        if len(data) % 4 or len(data) > 64:
            raise CableError(f"a hello has {len(data)} bytes of capabilities; restart both ends")
        text: bytes = values[0]
        words = struct.unpack(f"<{len(data) // 4}I", data)
        return {"version": text.split(b"\0")[0].decode("latin-1"), "words": words}

    def _write(self, shared: Cap) -> tuple[tuple[Any, ...], Data]:
        words = struct.pack(f"<{len(self.words)}I", *self.words)
        return (self.version.encode("latin-1")[:63],), words


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterReject(Packet):
    """The host does not want this device."""

    code: ClassVar[int] = 22
    sender: ClassVar[Side | None] = Side.HOST
    needs: ClassVar[Cap] = Cap.FILTER


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterFilter(Packet):
    """The rules by which an end takes or refuses devices, in usbredirfilter's own text.

    Class, vendor, product, version and 0 or 1, with "," between them and "|" between rules; -1
    stands for any (usbredirfilter.h).
    """

    code: ClassVar[int] = 23
    needs: ClassVar[Cap] = Cap.FILTER
    carries: ClassVar[bool] = True
    _NUMBER: ClassVar[str] = r"(-1|0x[0-9a-fA-F]{1,4}|[1-9][0-9]{0,4}|0)"
    _RULE: ClassVar[str] = rf"(-1|0x[0-9a-fA-F]{{1,2}}|[1-9][0-9]{{0,2}}|0)(,{_NUMBER}){{3}},[01]"
    _RULES: ClassVar[re.Pattern[str]] = re.compile(rf"{_RULE}(\|{_RULE})*")
    rules: str

    @classmethod
    def _read(cls, values: Sequence[Any], data: memoryview) -> dict[str, Any]:
        text = bytes(data)
        if text[-1:] != b"\0":
            raise CableError("a usbredir filter does not end in a zero byte; restart both ends")
        return {"rules": text[:-1].decode("latin-1")}

    def _write(self, shared: Cap) -> tuple[tuple[Any, ...], Data]:
        return (), self.rules.encode("latin-1") + b"\0"

    def complaint(self, sender: Side) -> str | None:
        """Rules, and nothing else: libusbredirparser throws others away."""
        return None if self._RULES.fullmatch(self.rules) else "its rules cannot be read"


# --- the device comes, describes itself and goes --------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConnect(Packet):
    """The device is there. `device_version_bcd` is None when the ends do not exchange it."""

    code: ClassVar[int] = 1
    sender: ClassVar[Side | None] = Side.GADGET
    speed: int
    device_class: int
    device_subclass: int
    device_protocol: int
    vendor_id: int
    product_id: int
    device_version_bcd: int | None = None

    _short: ClassVar[struct.Struct] = struct.Struct("<4B2H")
    _long: ClassVar[struct.Struct] = struct.Struct("<4B3H")

    @classmethod
    def layout(cls, shared: Cap) -> struct.Struct:
        """Ten bytes, or eight without the version."""
        return cls._long if Cap.CONNECT_DEVICE_VERSION in shared else cls._short

    @classmethod
    def _read(cls, values: Sequence[Any], data: memoryview) -> dict[str, Any]:
        return dict(zip(_FIELDS[cls], values, strict=False))

    def _write(self, shared: Cap) -> tuple[tuple[Any, ...], Data]:
        values = tuple(getattr(self, name) for name in _FIELDS[DeviceConnect])
        if Cap.CONNECT_DEVICE_VERSION not in shared:
            return values[:-1], b""
        return (*values[:-1], values[-1] or 0), b""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDisconnect(Packet):
    """The device is gone."""

    code: ClassVar[int] = 2
    sender: ClassVar[Side | None] = Side.GADGET


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDisconnectAck(Packet):
    """The host has let go of the device; nothing for the old device comes after this."""

    code: ClassVar[int] = 24
    sender: ClassVar[Side | None] = Side.HOST
    needs: ClassVar[Cap] = Cap.DEVICE_DISCONNECT_ACK


class Interface(NamedTuple):
    """One interface of the device: its number and its class codes (USB 2.0, 9.6.5)."""

    number: int
    cls: int
    subclass: int
    protocol: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceInfo(Packet):
    """The interfaces of the configuration in force, 32 at most."""

    code: ClassVar[int] = 4
    sender: ClassVar[Side | None] = Side.GADGET
    _plain: ClassVar[struct.Struct] = struct.Struct("<I32s32s32s32s")
    interfaces: tuple[Interface, ...]

    @classmethod
    def _read(cls, values: Sequence[Any], data: memoryview) -> dict[str, Any]:
        count, *columns = values
        if count > 32:
            raise CableError(f"the gadget's end speaks of {count} interfaces, not 32 at most")
        rows = list(zip(*columns, strict=True))[:count]
        return {"interfaces": tuple(Interface(*row) for row in rows)}

    def _write(self, shared: Cap) -> tuple[tuple[Any, ...], Data]:
        columns = [bytes(column) for column in zip(*self.interfaces, strict=True)] or [b""] * 4
        return (len(self.interfaces), *columns), b""

    def complaint(self, sender: Side) -> str | None:
        """No more than fit into the arrays."""
        return "more than 32 interfaces" if len(self.interfaces) > 32 else None


class Endpoint(NamedTuple):
    """One endpoint. The last two are None when the ends do not exchange them."""

    type: int
    interval: int
    interface: int
    max_packet_size: int | None = None
    max_streams: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpInfo(Packet):
    """All 32 endpoints that a device can have: 0 to 15 OUT, then 0 to 15 IN."""

    code: ClassVar[int] = 5
    sender: ClassVar[Side | None] = Side.GADGET
    endpoints: tuple[Endpoint, ...]

    _least: ClassVar[struct.Struct] = struct.Struct("<96B")
    _sizes: ClassVar[struct.Struct] = struct.Struct("<96B32H")
    _streams: ClassVar[struct.Struct] = struct.Struct("<96B32H32I")

    def at(self, address: int) -> Endpoint:
        """The endpoint of that address (bEndpointAddress: bit 7 set for IN)."""
        return self.endpoints[(address & 0x80) >> 3 | address & 0x0F]

    @classmethod
    def layout(cls, shared: Cap) -> struct.Struct:
        """96, 160 or 288 bytes."""
        if Cap.BULK_STREAMS in shared:
            return cls._streams
        return cls._sizes if Cap.EP_INFO_MAX_PACKET_SIZE in shared else cls._least

    @classmethod
    def _read(cls, values: Sequence[Any], data: memoryview) -> dict[str, Any]:
        columns = [values[i : i + 32] for i in range(0, len(values), 32)]
        return {"endpoints": tuple(Endpoint(*row) for row in zip(*columns, strict=True))}

    def _write(self, shared: Cap) -> tuple[tuple[Any, ...], Data]:
        columns = len(EpInfo.layout(shared).unpack(bytes(EpInfo.layout(shared).size))) // 32
        rows = [[value or 0 for value in row[:columns]] for row in self.endpoints]
        return tuple(value for column in zip(*rows, strict=True) for value in column), b""

    def complaint(self, sender: Side) -> str | None:
        """Always all of them."""
        return None if len(self.endpoints) == 32 else f"{len(self.endpoints)} endpoints, not 32"


# --- what the gadget's end carries out by itself --------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Packet):
    """Reset the device. Never answered."""

    code: ClassVar[int] = 3
    sender: ClassVar[Side | None] = Side.HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConfiguration(Packet):
    """SET_CONFIGURATION (USB 2.0, 9.4.7)."""

    code: ClassVar[int] = 6
    sender: ClassVar[Side | None] = Side.HOST
    _plain: ClassVar[struct.Struct] = struct.Struct("<B")
    configuration: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetConfiguration(Packet):
    """GET_CONFIGURATION (USB 2.0, 9.4.2)."""

    code: ClassVar[int] = 7
    sender: ClassVar[Side | None] = Side.HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationStatus(Packet):
    """The answer to both."""

    code: ClassVar[int] = 8
    sender: ClassVar[Side | None] = Side.GADGET
    _plain: ClassVar[struct.Struct] = struct.Struct("<BB")
    status: int
    configuration: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAltSetting(Packet):
    """SET_INTERFACE (USB 2.0, 9.4.10)."""

    code: ClassVar[int] = 9
    sender: ClassVar[Side | None] = Side.HOST
    _plain: ClassVar[struct.Struct] = struct.Struct("<BB")
    interface: int
    alt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAltSetting(Packet):
    """GET_INTERFACE (USB 2.0, 9.4.4)."""

    code: ClassVar[int] = 10
    sender: ClassVar[Side | None] = Side.HOST
    _plain: ClassVar[struct.Struct] = struct.Struct("<B")
    interface: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AltSettingStatus(Packet):
    """The answer to both."""

    code: ClassVar[int] = 11
    sender: ClassVar[Side | None] = Side.GADGET
    _plain: ClassVar[struct.Struct] = struct.Struct("<BBB")
    status: int
    interface: int
    alt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartIsoStream(Packet):
    """Let an isochronous endpoint run, with urbs of so many packets."""

    code: ClassVar[int] = 12
    sender: ClassVar[Side | None] = Side.HOST
    _plain: ClassVar[struct.Struct] = struct.Struct("<BBB")
    endpoint: int
    pkts_per_urb: int
    no_urbs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopIsoStream(Packet):
    """Stop it."""

    code: ClassVar[int] = 13
    sender: ClassVar[Side | None] = Side.HOST
    _plain: ClassVar[struct.Struct] = struct.Struct("<B")
    endpoint: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoStreamStatus(Packet):
    """The answer to both; also unasked, when the stream broke."""

    code: ClassVar[int] = 14
    sender: ClassVar[Side | None] = Side.GADGET
    _plain: ClassVar[struct.Struct] = struct.Struct("<BB")
    status: int
    endpoint: int


def _input_only(endpoint: int) -> str | None:
    return None if endpoint & 0x80 else f"endpoint {endpoint:02x} is not an input"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartInterruptReceiving(Packet):
    """Poll an interrupt IN endpoint from now on."""

    code: ClassVar[int] = 15
    sender: ClassVar[Side | None] = Side.HOST
    _plain: ClassVar[struct.Struct] = struct.Struct("<B")
    endpoint: int

    def complaint(self, sender: Side) -> str | None:
        """Inputs only."""
        return _input_only(self.endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopInterruptReceiving(Packet):
    """Stop polling it."""

    code: ClassVar[int] = 16
    sender: ClassVar[Side | None] = Side.HOST
    _plain: ClassVar[struct.Struct] = struct.Struct("<B")
    endpoint: int

    def complaint(self, sender: Side) -> str | None:
        """Inputs only."""
        return _input_only(self.endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptReceivingStatus(Packet):
    """The answer to both; also unasked, when polling broke."""

    code: ClassVar[int] = 17
    sender: ClassVar[Side | None] = Side.GADGET
    _plain: ClassVar[struct.Struct] = struct.Struct("<BB")
    status: int
    endpoint: int

    def complaint(self, sender: Side) -> str | None:
        """Inputs only."""
        return _input_only(self.endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocBulkStreams(Packet):
    """Allocate USB 3 streams; `endpoints` is a mask with `EpInfo`'s numbering."""

    code: ClassVar[int] = 18
    sender: ClassVar[Side | None] = Side.HOST
    _plain: ClassVar[struct.Struct] = struct.Struct("<II")
    endpoints: int
    no_streams: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeBulkStreams(Packet):
    """Free them."""

    code: ClassVar[int] = 19
    sender: ClassVar[Side | None] = Side.HOST
    _plain: ClassVar[struct.Struct] = struct.Struct("<I")
    endpoints: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkStreamsStatus(Packet):
    """The answer to both."""

    code: ClassVar[int] = 20
    sender: ClassVar[Side | None] = Side.GADGET
    _plain: ClassVar[struct.Struct] = struct.Struct("<IIB")
    endpoints: int
    no_streams: int
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelDataPacket(Packet):
    """Give up the transfer with this id. The transfer is answered all the same, once."""

    code: ClassVar[int] = 21
    sender: ClassVar[Side | None] = Side.HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class StartBulkReceiving(Packet):
    """Read a bulk IN endpoint ahead from now on."""

    code: ClassVar[int] = 25
    sender: ClassVar[Side | None] = Side.HOST
    needs: ClassVar[Cap] = Cap.BULK_RECEIVING
    _plain: ClassVar[struct.Struct] = struct.Struct("<IIBB")
    stream_id: int
    bytes_per_transfer: int
    endpoint: int
    no_transfers: int

    def complaint(self, sender: Side) -> str | None:
        """Inputs only, and no longer than what can be carried out."""
        return _input_only(self.endpoint) or _too_long(self.bytes_per_transfer)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopBulkReceiving(Packet):
    """Stop that."""

    code: ClassVar[int] = 26
    sender: ClassVar[Side | None] = Side.HOST
    needs: ClassVar[Cap] = Cap.BULK_RECEIVING
    _plain: ClassVar[struct.Struct] = struct.Struct("<IB")
    stream_id: int
    endpoint: int

    def complaint(self, sender: Side) -> str | None:
        """Inputs only."""
        return _input_only(self.endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkReceivingStatus(Packet):
    """The answer to both; also unasked, when reading broke."""

    code: ClassVar[int] = 27
    sender: ClassVar[Side | None] = Side.GADGET
    needs: ClassVar[Cap] = Cap.BULK_RECEIVING
    _plain: ClassVar[struct.Struct] = struct.Struct("<IBB")
    stream_id: int
    endpoint: int
    status: int

    def complaint(self, sender: Side) -> str | None:
        """Inputs only."""
        return _input_only(self.endpoint)


# --- transfers ------------------------------------------------------------------------------


def _too_long(length: int) -> str | None:
    return f"{length} bytes, over {MAX_DATA}" if length > MAX_DATA else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Packet):
    """Common to the packets that stand for a transfer: asked by the host, answered by the gadget.

    Bytes go along only in the direction of the endpoint: with the host's request for OUT,
    with the gadget's answer for IN. `length` is how many the host asks for or the gadget
    has moved, so it may be set where no bytes go along. `data` may look into `raw`.
    """

    carries: ClassVar[bool] = True
    endpoint: int
    status: int = 0
    length: int = 0
    data: Data = b""

    @classmethod
    def _read(cls, values: Sequence[Any], data: memoryview) -> dict[str, Any]:
        return {**dict(zip(_FIELDS[cls], values, strict=True)), "data": data}

    def _write(self, shared: Cap) -> tuple[tuple[Any, ...], Data]:
        return tuple(getattr(self, name) for name in _FIELDS[type(self)]), self.data

    @property
    def inward(self) -> bool:
        """Whether the endpoint is an IN endpoint: its bytes go to the host."""
        return bool(self.endpoint & 0x80)

    def complaint(self, sender: Side) -> str | None:
        """As many bytes as `length` says where bytes belong, none elsewhere."""
        moved, length = len(self.data), self.length
        if (sender is Side.GADGET) == self.inward:
            if moved != length:
                return f"{moved} bytes of data where {length} are announced"
        elif moved:
            return f"{moved} bytes of data against the endpoint's direction"
        return f"{length} bytes, over {MAX_DATA}" if length > MAX_DATA else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPacket(Transfer):
    """A control transfer (USB 2.0, 9.3)."""

    code: ClassVar[int] = 100
    _plain: ClassVar[struct.Struct] = struct.Struct("<BBBBHHH")
    request: int
    requesttype: int
    value: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPacket(Transfer):
    """A bulk transfer. Lengths over 65535 need `BULK_LENGTH_32BITS` at both ends."""

    code: ClassVar[int] = 101
    stream_id: int = 0

    _short: ClassVar[struct.Struct] = struct.Struct("<BBHI")
    _long: ClassVar[struct.Struct] = struct.Struct("<BBHIH")

    @classmethod
    def layout(cls, shared: Cap) -> struct.Struct:
        """Eight bytes, or ten with the upper half of the length at the end."""
        return cls._long if Cap.BULK_LENGTH_32BITS in shared else cls._short

    @classmethod
    def _made(cls, ident: int, raw: bytes, values: Sequence[Any], data: memoryview) -> Self:
        """By hand: nearly all that crosses a cable is one of these."""
        endpoint, status, low, stream_id, *high = values
        return cls(
            id=ident,
            raw=raw,
            endpoint=endpoint,
            status=status,
            length=low | high[0] << 16 if high else low,
            data=data,
            stream_id=stream_id,
        )

    def _write(self, shared: Cap) -> tuple[tuple[Any, ...], Data]:
        if Cap.BULK_LENGTH_32BITS in shared:
            low, high = self.length & 0xFFFF, self.length >> 16
            return (self.endpoint, self.status, low, self.stream_id, high), self.data
        return (self.endpoint, self.status, self.length, self.stream_id), self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoPacket(Transfer):
    """One isochronous packet. Sent in the endpoint's direction only: it is never answered."""

    code: ClassVar[int] = 102
    _plain: ClassVar[struct.Struct] = struct.Struct("<BBH")

    def complaint(self, sender: Side) -> str | None:
        """Never against the direction."""
        if (sender is Side.GADGET) != self.inward:
            return "an isochronous packet against its endpoint's direction"
        return Transfer.complaint(self, sender)


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptPacket(Transfer):
    """One interrupt transfer. IN ones come unasked once receiving has been started."""

    code: ClassVar[int] = 103
    _plain: ClassVar[struct.Struct] = struct.Struct("<BBH")

    def complaint(self, sender: Side) -> str | None:
        """The host never asks for a single interrupt IN transfer."""
        if sender is Side.HOST and self.inward:
            return "an interrupt packet against its endpoint's direction"
        return Transfer.complaint(self, sender)


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferedBulkPacket(Transfer):
    """Bytes of a bulk IN endpoint that is read ahead."""

    code: ClassVar[int] = 104
    sender: ClassVar[Side | None] = Side.GADGET
    needs: ClassVar[Cap] = Cap.BULK_RECEIVING
    _plain: ClassVar[struct.Struct] = struct.Struct("<IIBB")
    stream_id: int = 0

    def complaint(self, sender: Side) -> str | None:
        """Inputs only."""
        return _input_only(self.endpoint) or Transfer.complaint(self, sender)


# The order of the fields on the wire, where it is not the order of the class.
_WIRE_ORDER: dict[type[Packet], tuple[str, ...]] = {
    ControlPacket: ("endpoint", "request", "requesttype", "status", "value", "index", "length"),
    BufferedBulkPacket: ("stream_id", "length", "endpoint", "status"),
}


def _every(cls: type[Packet]) -> Iterator[type[Packet]]:
    # dataclass(slots=True) makes each class twice, and the first one stays listed: the
    # module's own name is the one that counts.
    for sub in cls.__subclasses__():
        if globals().get(sub.__name__) is sub:
            if hasattr(sub, "code"):
                yield sub
            yield from _every(sub)


PACKETS: dict[int, type[Packet]] = {cls.code: cls for cls in _every(Packet)}
"""Every packet of the protocol by its number."""

_FIELDS: dict[type[Packet], tuple[str, ...]] = {
    cls: _WIRE_ORDER.get(
        cls,
        tuple(f.name for f in dataclasses.fields(cls) if f.name not in ("id", "raw", "data")),
    )
    for cls in PACKETS.values()
}

_HEADER = struct.Struct("<II")
_HEADER_32 = struct.Struct("<III")
_HEADER_64 = struct.Struct("<IIQ")


def _header(code: int, shared: Cap) -> struct.Struct:
    """12 bytes, or 16 once both ends have announced 64-bit ids; a hello always has 12."""
    return _HEADER_64 if code and Cap.IDS_64BITS in shared else _HEADER_32


def encode(packet: Packet, sender: Side, caps: Caps = Caps()) -> bytes:  # noqa: B008 (a tuple)
    """The bytes that `sender` puts on the wire for this packet, header included.

    `caps` is what the two ends have announced so far. Raises CableError when this packet
    cannot be said by that end or in those layouts.
    """
    _check_code(packet.code, sender, caps)
    complaint = packet.complaint(sender)
    if complaint:
        _refuse(type(packet), sender, complaint)
    values, data = packet._write(caps.shared)
    try:
        body = packet.layout(caps.shared).pack(*values)
        header = _header(packet.code, caps.shared)
        return header.pack(packet.code, len(body) + len(data), packet.id) + body + bytes(data)
    except struct.error as error:
        _refuse(type(packet), sender, str(error))


class _Form(NamedTuple):
    """How a packet looks on the wire: its class, header and fixed part, and both as one."""

    cls: type[Packet]
    header: struct.Struct
    layout: struct.Struct
    whole: struct.Struct


class Parser:
    """Takes the bytes that one end sends, in any pieces, and gives them back as packets.

    `caps` is what the two ends have announced; whoever owns the parser sets it as it learns
    of it, and may do so between two packets of one `feed`.
    """

    def __init__(self, sender: Side, caps: Caps = Caps()) -> None:  # noqa: B008 (a tuple)
        """A parser for the bytes of that end."""
        self.sender = sender
        self._bytes = bytearray()
        self._seeking = False
        self._forms: dict[int, _Form] = {}
        self._caps = caps

    @property
    def caps(self) -> Caps:
        """What the two ends have announced."""
        return self._caps

    @caps.setter
    def caps(self, caps: Caps) -> None:
        self._caps = caps
        self._forms.clear()

    @property
    def pending(self) -> int:
        """Bytes of a packet that is not complete yet."""
        return len(self._bytes)

    def seek_hello(self) -> None:
        """Forget what is pending, and skip everything up to the next hello.

        For when the sender was replaced: the old one may have died in mid-packet, and its
        last bytes may still be on their way.
        """
        self._bytes.clear()
        self._seeking = True

    def feed(self, chunk: Data) -> Iterator[Packet]:
        """Take a piece and give the packets that are complete now.

        The iterator must be used up before the next call. It raises CableError at the first
        byte that shows that the stream is not usbredir as this sender may speak it; the
        parser stays at that place, so that it raises the same again.
        """
        self._bytes += chunk
        return self._packets()

    def _packets(self) -> Iterator[Packet]:
        if self._seeking and not self._found_hello():
            return
        while len(self._bytes) >= _HEADER.size:
            code, length = _HEADER.unpack_from(self._bytes)
            form = self._forms.get(code) or self._learn(code)
            self._accept(form, length)
            end = form.header.size + length
            if len(self._bytes) < end:
                return
            with memoryview(self._bytes) as view:
                raw = bytes(view[:end])
            packet = self._decode(form, raw)
            del self._bytes[:end]
            yield packet

    def _found_hello(self) -> bool:
        place = self._bytes.find(HELLO_START)
        if place < 0:
            del self._bytes[: -len(HELLO_START) + 1]
            return False
        del self._bytes[:place]
        self._seeking = False
        return True

    def _learn(self, code: int) -> _Form:
        """Once for all packets of that number, until the ends announce something else."""
        cls, shared = _check_code(code, self.sender, self._caps), self._caps.shared
        header, layout = _header(code, shared), cls.layout(shared)
        # Packed and little endian throughout: one behind the other is as good as both in one.
        whole = struct.Struct(header.format + layout.format.removeprefix("<"))
        form = self._forms[code] = _Form(cls, header, layout, whole)
        return form

    def _accept(self, form: _Form, length: int) -> None:
        """Judge a header before a single byte of its body is waited for."""
        cls, fixed = form.cls, form.layout.size
        if length != fixed if not cls.carries else not fixed <= length <= fixed + MAX_DATA:
            _refuse(cls, self.sender, f"its length is {length}, its fixed part {fixed} bytes")

    def _decode(self, form: _Form, raw: bytes) -> Packet:
        cls = form.cls
        _, _, ident, *values = form.whole.unpack_from(raw)
        packet = cls._made(ident, raw, values, memoryview(raw)[form.whole.size :])
        complaint = packet.complaint(self.sender)
        if complaint:
            _refuse(cls, self.sender, complaint)
        return packet


def _check_code(code: int, sender: Side, caps: Caps) -> type[Packet]:
    cls = PACKETS.get(code)
    if cls is None:
        raise CableError(
            f"the {sender.value}'s end of the cable sent a packet of type {code}, "
            "which usbredir 0.7.1 does not have; look at what is connected there"
        )
    if cls.sender not in (None, sender):
        _refuse(cls, sender, "only the other end may send it")
    if cls.needs not in caps.of(sender.other):
        _refuse(cls, sender, f"the other end has not announced {cls.needs.name}")
    return cls


def _refuse(cls: type[Packet], sender: Side, why: str) -> NoReturn:
    raise CableError(
        f"the {sender.value}'s end of the cable sent a wrong {cls.__name__} packet: {why}; "
        "look at what is connected there"
    )
