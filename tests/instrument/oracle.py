"""The real libusbredirparser (Debian package libusbredirparser1), through ctypes.

What it hears of our bytes, and what bytes it says itself.

Structures and the order of the callbacks are those of usbredirproto.h and usbredirparser.h
(package libusbredirparser-dev, 0.13.0), written down a second time and apart from the codec.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import (
    CFUNCTYPE,
    POINTER,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, ClassVar, NamedTuple

from harness.cable import usbredir
from harness.cable.usbredir import (
    BulkPacket,
    Cap,
    Caps,
    DeviceConnect,
    EpInfo,
    FilterFilter,
    Hello,
    InterfaceInfo,
    Packet,
    Side,
    Transfer,
    encode,
)

LIBRARY = "libusbredirparser.so.1"


class Heard(NamedTuple):
    """What a parser made of a packet: its kind, its id, its fields by name, its data."""

    kind: str
    id: int
    fields: dict[str, object]
    data: bytes = b""


class _Header(ctypes.LittleEndianStructure):
    _pack_ = 1


def _header(**fields: Any) -> type[_Header]:
    """A packed structure with these fields, in their order."""
    return type("_Header", (_Header,), {"_pack_": 1, "_fields_": list(fields.items())})


class _Kind(NamedTuple):
    """One kind of packet, as the library's functions and callbacks take it."""

    name: str
    send: str
    header: type[_Header] | None = None
    has_id: bool = True
    has_data: bool = False


_BYTES = c_uint8 * 32
_STATUS = _header(status=c_uint8, endpoint=c_uint8)
_ENDPOINT = _header(endpoint=c_uint8)
_PACKET = _header(endpoint=c_uint8, status=c_uint8, length=c_uint16)

# In the order of struct usbredirparser's callbacks; None is the place of one of no packet.
_CALLBACKS: tuple[_Kind | None, ...] = (
    _Kind(
        "DeviceConnect",
        "device_connect",
        _header(
            speed=c_uint8,
            device_class=c_uint8,
            device_subclass=c_uint8,
            device_protocol=c_uint8,
            vendor_id=c_uint16,
            product_id=c_uint16,
            device_version_bcd=c_uint16,
        ),
        has_id=False,
    ),
    _Kind("DeviceDisconnect", "device_disconnect", has_id=False),
    _Kind("Reset", "reset", has_id=False),
    _Kind(
        "InterfaceInfo",
        "interface_info",
        _header(
            interface_count=c_uint32,
            interface=_BYTES,
            interface_class=_BYTES,
            interface_subclass=_BYTES,
            interface_protocol=_BYTES,
        ),
        has_id=False,
    ),
    _Kind(
        "EpInfo",
        "ep_info",
        _header(
            type=_BYTES,
            interval=_BYTES,
            interface=_BYTES,
            max_packet_size=c_uint16 * 32,
            max_streams=c_uint32 * 32,
        ),
        has_id=False,
    ),
    _Kind("SetConfiguration", "set_configuration", _header(configuration=c_uint8)),
    _Kind("GetConfiguration", "get_configuration"),
    _Kind(
        "ConfigurationStatus",
        "configuration_status",
        _header(status=c_uint8, configuration=c_uint8),
    ),
    _Kind("SetAltSetting", "set_alt_setting", _header(interface=c_uint8, alt=c_uint8)),
    _Kind("GetAltSetting", "get_alt_setting", _header(interface=c_uint8)),
    _Kind(
        "AltSettingStatus",
        "alt_setting_status",
        _header(status=c_uint8, interface=c_uint8, alt=c_uint8),
    ),
    _Kind(
        "StartIsoStream",
        "start_iso_stream",
        _header(endpoint=c_uint8, pkts_per_urb=c_uint8, no_urbs=c_uint8),
    ),
    _Kind("StopIsoStream", "stop_iso_stream", _ENDPOINT),
    _Kind("IsoStreamStatus", "iso_stream_status", _STATUS),
    _Kind("StartInterruptReceiving", "start_interrupt_receiving", _ENDPOINT),
    _Kind("StopInterruptReceiving", "stop_interrupt_receiving", _ENDPOINT),
    _Kind("InterruptReceivingStatus", "interrupt_receiving_status", _STATUS),
    _Kind(
        "AllocBulkStreams",
        "alloc_bulk_streams",
        _header(endpoints=c_uint32, no_streams=c_uint32),
    ),
    _Kind("FreeBulkStreams", "free_bulk_streams", _header(endpoints=c_uint32)),
    _Kind(
        "BulkStreamsStatus",
        "bulk_streams_status",
        _header(endpoints=c_uint32, no_streams=c_uint32, status=c_uint8),
    ),
    _Kind("CancelDataPacket", "cancel_data_packet"),
    _Kind(
        "ControlPacket",
        "control_packet",
        _header(
            endpoint=c_uint8,
            request=c_uint8,
            requesttype=c_uint8,
            status=c_uint8,
            value=c_uint16,
            index=c_uint16,
            length=c_uint16,
        ),
        has_data=True,
    ),
    _Kind(
        "BulkPacket",
        "bulk_packet",
        _header(
            endpoint=c_uint8,
            status=c_uint8,
            length=c_uint16,
            stream_id=c_uint32,
            length_high=c_uint16,
        ),
        has_data=True,
    ),
    _Kind("IsoPacket", "iso_packet", _PACKET, has_data=True),
    _Kind("InterruptPacket", "interrupt_packet", _PACKET, has_data=True),
    *(None, None, None, None),  # alloc_lock, lock, unlock, free_lock
    # It is said by usbredirparser_init, and by nothing else.
    _Kind("Hello", "", _header(version=c_char * 64, capabilities=c_uint32 * 1), has_id=False),
    _Kind("FilterReject", "filter_reject", has_id=False),
    None,  # filter_filter: rules come and go parsed
    # It answers device_disconnect by itself.
    _Kind("DeviceDisconnectAck", "", has_id=False),
    _Kind(
        "StartBulkReceiving",
        "start_bulk_receiving",
        _header(
            stream_id=c_uint32,
            bytes_per_transfer=c_uint32,
            endpoint=c_uint8,
            no_transfers=c_uint8,
        ),
    ),
    _Kind(
        "StopBulkReceiving",
        "stop_bulk_receiving",
        _header(stream_id=c_uint32, endpoint=c_uint8),
    ),
    _Kind(
        "BulkReceivingStatus",
        "bulk_receiving_status",
        _header(stream_id=c_uint32, endpoint=c_uint8, status=c_uint8),
    ),
    _Kind(
        "BufferedBulkPacket",
        "buffered_bulk_packet",
        _header(stream_id=c_uint32, length=c_uint32, endpoint=c_uint8, status=c_uint8),
        has_data=True,
    ),
)
_FILTER = 31
"""The place of filter_filter among them."""
_KINDS = {kind.name: kind for kind in _CALLBACKS if kind}

_LOG = CFUNCTYPE(None, c_void_p, c_int, c_char_p)
_MOVE = CFUNCTYPE(c_int, c_void_p, POINTER(c_uint8), c_int)
_RULES = CFUNCTYPE(None, c_void_p, c_void_p, c_int)


class _Parser(ctypes.Structure):
    _fields_: ClassVar = [
        ("priv", c_void_p),
        ("log", _LOG),
        ("read", _MOVE),
        ("write", _MOVE),
        ("packets", c_void_p * len(_CALLBACKS)),
    ]


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(LIBRARY)
    library.usbredirparser_create.restype = POINTER(_Parser)
    library.usbredirparser_init.argtypes = [POINTER(_Parser), c_char_p, c_void_p, c_int, c_int]
    for name in ("destroy", "do_read", "do_write", "has_data_to_write"):
        getattr(library, f"usbredirparser_{name}").argtypes = [POINTER(_Parser)]
    library.usbredirparser_free_packet_data.argtypes = [POINTER(_Parser), c_void_p]
    library.usbredirfilter_rules_to_string.argtypes = [c_void_p, c_int, c_char_p, c_char_p]
    library.usbredirfilter_rules_to_string.restype = c_void_p
    library.usbredirfilter_free.argtypes = [c_void_p]
    return library


class Oracle:
    """libusbredirparser as one end of the cable. `close` it."""

    def __init__(self, side: Side, caps: Caps) -> None:
        """`caps` is what both ends announce: it announces its own, and is told the other's."""
        self._library = _library()
        self._pending = b""
        self._said = bytearray()
        self.heard: list[Heard] = []
        self.complaints: list[str] = []
        self._parser = self._library.usbredirparser_create()
        parser = self._parser.contents
        parser.log, parser.read = _LOG(self._log), _MOVE(self._read)
        parser.write = _MOVE(self._write)
        self._kept: list[Any] = [self._callback(kind) if kind else None for kind in _CALLBACKS]
        self._kept[_FILTER] = _RULES(self._rules)
        for place, callback in enumerate(self._kept):
            parser.packets[place] = ctypes.cast(callback, c_void_p) if callback else None
        words = (c_uint32 * 1)(caps.of(side).value)
        gadget = int(side is Side.GADGET)  # usbredirparser_fl_usb_host
        self._library.usbredirparser_init(self._parser, b"oracle", byref(words), 1, gadget)
        hello = Hello(version="", words=(caps.of(side.other).value,))
        assert self.feed(encode(hello, side.other)), self.complaints
        self.said()
        self.heard.clear()

    def feed(self, data: bytes) -> bool:
        """Let it read bytes; False when it complains of them."""
        self._pending += data
        while self._pending:
            if self._library.usbredirparser_do_read(self._parser) < 0:
                return False
        return not self.complaints

    def say(self, what: Heard) -> bytes:
        """Have it say a packet; the bytes of it. Without a function for that, none."""
        arguments: list[Any] = [self._parser]
        if what.kind == "FilterFilter":
            rules, count = c_void_p(), c_int()
            text = str(what.fields["rules"]).encode()
            strings = (c_char_p(text), b",", b"|")
            assert not self._library.usbredirfilter_string_to_rules(
                *strings, byref(rules), byref(count)
            )
            self._library.usbredirparser_send_filter_filter(self._parser, rules, count)
            self._library.usbredirfilter_free(rules)
            return self.said()
        kind = _KINDS[what.kind]
        if not kind.send:
            return b""
        if kind.has_id:
            arguments.append(c_uint64(what.id))
        if kind.header:
            arguments.append(byref(_filled(kind.header, what.fields)))
        if kind.has_data:
            arguments += [what.data or None, len(what.data)]
        getattr(self._library, f"usbredirparser_send_{kind.send}")(*arguments)
        return self.said()

    def said(self) -> bytes:
        """What it has said since it was asked last."""
        while self._library.usbredirparser_has_data_to_write(self._parser):
            self._library.usbredirparser_do_write(self._parser)
        said = bytes(self._said)
        self._said.clear()
        return said

    def close(self) -> None:
        """Free it."""
        self._library.usbredirparser_destroy(self._parser)

    # --- its callbacks --------------------------------------------------------------------

    def _log(self, priv: object, level: int, text: bytes) -> None:
        if level <= 2:  # usbredirparser_error, usbredirparser_warning
            self.complaints.append(text.decode("latin-1"))

    def _read(self, priv: object, place: Any, count: int) -> int:
        part, self._pending = self._pending[:count], self._pending[count:]
        ctypes.memmove(place, part, len(part))
        return len(part)

    def _write(self, priv: object, place: Any, count: int) -> int:
        self._said += ctypes.string_at(place, count)
        return count

    def _callback(self, kind: _Kind) -> object:
        arguments: list[Any] = [c_void_p]
        arguments += [c_uint64] if kind.has_id else []
        arguments += [c_void_p] if kind.header else []
        arguments += [c_void_p, c_int] if kind.has_data else []

        def take(priv: object, *given: Any) -> None:
            left = list(given)
            ident = left.pop(0) if kind.has_id else 0
            fields = _fields(kind.header.from_address(left.pop(0))) if kind.header else {}
            data = b""
            if kind.has_data and left[0]:
                data = ctypes.string_at(*left)
                self._library.usbredirparser_free_packet_data(self._parser, left[0])
            self.heard.append(Heard(kind.name, ident, fields, data))

        made: Callable[[Any], object] = CFUNCTYPE(None, *arguments)
        return made(take)

    def _rules(self, priv: object, rules: int, count: int) -> None:
        text = self._library.usbredirfilter_rules_to_string(rules, count, b",", b"|")
        words = ctypes.string_at(text).decode()
        self._library.usbredirfilter_free(text)
        self._library.usbredirfilter_free(rules)
        self.heard.append(Heard("FilterFilter", 0, {"rules": words}))


def _fields(header: _Header) -> dict[str, object]:
    values = {field[0]: getattr(header, field[0]) for field in header._fields_}
    return {n: v if isinstance(v, int | bytes) else tuple(v) for n, v in values.items()}


def _filled(header: type[_Header], fields: dict[str, object]) -> _Header:
    made = header()
    for name, value in fields.items():
        if isinstance(value, tuple):
            getattr(made, name)[: len(value)] = value
        else:
            setattr(made, name, value)
    return made


def as_heard(packet: Packet, shared: Cap) -> Heard:
    """A packet of the codec as the library would tell of it, as far as the wire carries it."""
    name = type(packet).__name__
    fields: dict[str, object] = {n: getattr(packet, n) for n in usbredir._FIELDS[type(packet)]}
    match packet:
        case Hello():
            fields = {"version": packet.version.encode("latin-1")}
        case InterfaceInfo():
            columns = ["interface", "interface_class", "interface_subclass", "interface_protocol"]
            fields = {"interface_count": len(packet.interfaces), **_by_column(packet, columns)}
        case EpInfo():
            columns = ["type", "interval", "interface", "max_packet_size", "max_streams"]
            present = 4 + (Cap.BULK_STREAMS in shared)
            present = present if Cap.EP_INFO_MAX_PACKET_SIZE in shared else 3
            fields = _by_column(packet, columns[:present])
        case DeviceConnect() if Cap.CONNECT_DEVICE_VERSION not in shared:
            del fields["device_version_bcd"]
        case FilterFilter():
            fields["rules"] = "|".join(map(_canonical, packet.rules.split("|")))
        case BulkPacket():
            fields |= {"length": packet.length & 0xFFFF, "length_high": packet.length >> 16}
    data = bytes(packet.data) if isinstance(packet, Transfer) else b""
    # Packets that are no question and no answer carry an id, too: nobody is told.
    known = _KINDS.get(name)
    return Heard(name, packet.id if known and known.has_id else 0, fields, data)


def _canonical(rule: str) -> str:
    """A filter's rule as usbredirfilter_rules_to_string writes it."""
    *numbers, allow = (int(number, 0) for number in rule.split(","))
    digits = (2, 4, 4, 4)
    words = [f"0x{n:0{d}x}" if n >= 0 else "-1" for n, d in zip(numbers, digits, strict=True)]
    return ",".join([*words, str(allow)])


def _by_column(packet: InterfaceInfo | EpInfo, columns: list[str]) -> dict[str, object]:
    rows = packet.interfaces if isinstance(packet, InterfaceInfo) else packet.endpoints
    return {name: tuple(row[place] for row in rows) for place, name in enumerate(columns)}


def agrees(ours: Heard, theirs: Heard) -> bool:
    """Whether both are the same, as far as ours says anything."""
    if ours[:2] != theirs[:2] or ours.data != theirs.data:
        return False
    for name, value in ours.fields.items():
        other = theirs.fields[name]
        if isinstance(value, tuple) and isinstance(other, tuple):
            other = other[: len(value)]
        if other != value:
            return False
    return True
