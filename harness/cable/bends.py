"""Bends: what is made of one packet at a named place of the wire, declared as data.

Everything else crosses as it is. Places are counted in what the two ends mean to say, not in what
crosses: a bend does not move the next one's place. Where something is to be made up (a wrong
tag), it comes from the seed, so the same bends give the same bytes.
"""

from __future__ import annotations

import dataclasses
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random

from harness.cable.conversation import Conversation
from harness.cable.scsi import CSW_BYTES, read_blocks
from harness.cable.usbredir import (
    AltSettingStatus,
    BulkPacket,
    ConfigurationStatus,
    ControlPacket,
    GetAltSetting,
    GetConfiguration,
    Packet,
    SetAltSetting,
    SetConfiguration,
    Side,
    Status,
)
from harness.observation import ControlReply, ControlRequest, Observation, ScsiCommand, ScsiReply


class Part(Enum):
    """Which packet of a command or request; the value completes "the ... of READ(10)"."""

    COMMAND = "command"
    DATA = "first data"
    STATUS = "status"
    REQUEST = "request"
    REPLY = "reply"


@dataclass(frozen=True)
class Place:
    """The `number`-th packet of that part of commands or requests named `name`; "" is any.

    Names are those of the transcript, such as "READ(10)" and "GET_MAX_LUN". With `lba` only
    commands that read that block first count.
    """

    part: Part
    name: str = ""
    number: int = 1
    lba: int | None = None

    def __str__(self) -> str:
        """Such as "the status of INQUIRY 1"."""
        which = f" of block {self.lba}" if self.lba is not None else ""
        return f"the {self.part.value} of {self.name or 'anything'}{which} {self.number}"


@dataclass(frozen=True)
class Bent:
    """What crosses in a packet's place: towards where it was going, and back to who sent it."""

    on: tuple[Packet, ...] = ()
    back: tuple[Packet, ...] = ()
    seconds: float = 0.0
    """How much later `on` crosses."""


Make = Callable[[Packet, Random], Bent]


@dataclass(frozen=True)
class Bend:
    """At `place`, `what` crosses in place of the packet; `words` say what that is."""

    place: Place
    words: str
    what: Make

    def __str__(self) -> str:
        """Such as "the status of INQUIRY 1: a wrong tag"."""
        return f"{self.place}: {self.words}"


# --- what can be made of a packet ------------------------------------------------------------


def stall(place: Place) -> Bend:
    """The device stalls where it would have answered (USB 2.0, 8.4.5); a command is lost."""

    def make(packet: Packet, random: Random) -> Bent:
        if place.part in (Part.COMMAND, Part.REQUEST):
            return Bent(back=(_refusal(packet),))
        return Bent((_refusal(packet),))

    return Bend(place, "a stall", make)


def _refusal(packet: Packet) -> Packet:
    """What answers a request or command with a stall, or that answer in place of another."""
    stall, ident = Status.STALL, packet.id
    match packet:
        case BulkPacket() | ControlPacket():
            return dataclasses.replace(packet, status=stall, length=0, data=b"", raw=b"")
        case SetConfiguration() | GetConfiguration() | ConfigurationStatus():
            return ConfigurationStatus(id=ident, status=stall, configuration=0)
        case SetAltSetting() | GetAltSetting() | AltSettingStatus():
            number = packet.interface
            return AltSettingStatus(id=ident, status=stall, interface=number, alt=0)
    raise ValueError(f"a {type(packet).__name__} packet is neither request nor answer")


def truncate(place: Place, keep: int) -> Bend:
    """Only the first `keep` bytes of the data cross."""

    def make(packet: Packet, random: Random) -> Bent:
        if not isinstance(packet, BulkPacket | ControlPacket):
            return Bent((packet,))  # one without data
        data = bytes(packet.data)[:keep]
        return Bent((dataclasses.replace(packet, length=len(data), data=data, raw=b""),))

    return Bend(place, f"cut after {keep} bytes", make)


def replace(place: Place, at: int, data: bytes) -> Bend:
    """The bytes from `at` on are others."""

    def make(packet: Packet, random: Random) -> Bent:
        if not isinstance(packet, BulkPacket | ControlPacket):
            return Bent((packet,))  # one without data
        old = bytes(packet.data)
        new = (old[:at] + data + old[at + len(data) :])[: len(old)]
        return Bent((dataclasses.replace(packet, data=new, raw=b""),))

    return Bend(place, f"{data.hex(' ')} from byte {at} on", make)


def _in_status(place: Place, words: str, at: int, layout: str, wrong: Callable[..., int]) -> Bend:
    """A field of the CSW (BOT 5.2, table 5.2) is another."""

    def make(packet: Packet, random: Random) -> Bent:
        assert isinstance(packet, BulkPacket)
        data = bytearray(packet.data)
        if len(data) != CSW_BYTES:
            return Bent((packet,))  # the device's own nonsense, which has no such field
        (right,) = struct.unpack_from(layout, data, at)
        struct.pack_into(layout, data, at, wrong(right, random))
        return Bent((dataclasses.replace(packet, data=bytes(data), raw=b""),))

    return Bend(dataclasses.replace(place, part=Part.STATUS), words, make)


def wrong_signature(place: Place) -> Bend:
    """dCSWSignature is any other."""
    return _in_status(place, "a wrong signature", 0, "<I", _another)


def wrong_tag(place: Place) -> Bend:
    """dCSWTag is any other."""
    return _in_status(place, "a wrong tag", 4, "<I", _another)


def wrong_residue(place: Place, residue: int) -> Bend:
    """dCSWDataResidue is `residue`."""
    return _in_status(place, f"residue {residue}", 8, "<I", lambda right, random: residue)


def wrong_status(place: Place, status: int) -> Bend:
    """bCSWStatus is `status`: 0 passed, 1 failed, 2 phase error, others reserved."""
    return _in_status(place, f"status {status}", 12, "<B", lambda right, random: status)


def _another(right: int, random: Random) -> int:
    return right ^ random.randrange(1, 1 << 32)


def duplicate(place: Place) -> Bend:
    """It crosses twice."""
    return Bend(place, "twice", lambda packet, random: Bent((packet, packet)))


def delay(place: Place, seconds: float) -> Bend:
    """It crosses later; what comes behind it does not wait."""
    return Bend(
        place, f"{seconds:g} s late", lambda packet, random: Bent((packet,), seconds=seconds)
    )


# --- where they apply -------------------------------------------------------------------------


class Bender:
    """Follows one host's conversation, and bends it. Of bends at one packet the first counts."""

    def __init__(self, bends: Sequence[Bend], seed: int = 0) -> None:
        """`seed` decides what is made up."""
        self._bends = list(bends)
        self._random = Random(seed)
        self._said = Conversation()
        self._counts: Counter[Place] = Counter()
        self._command: ScsiCommand | None = None
        self._with_data = False
        self._requests: dict[int, str] = {}

    @property
    def left(self) -> tuple[Bend, ...]:
        """Those whose place has not come."""
        return tuple(self._bends)

    def add(self, bend: Bend) -> None:
        """One more, whose place is counted from here on. May be called from any thread."""
        self._counts.pop(bend.place, None)
        self._bends.append(bend)

    def bend(self, packet: Packet, to: Side) -> tuple[Bent, Bend | None]:
        """What crosses in place of a packet, and the bend that says so."""
        where = self._where(packet, to)
        if where is not None:
            here = {bend.place for bend in self._bends if _is_at(bend.place, *where)}
            self._counts.update(here)
            for bend in self._bends:
                if bend.place in here and self._counts[bend.place] == bend.place.number:
                    self._bends.remove(bend)
                    return bend.what(packet, self._random), bend
        return Bent((packet,)), None

    def _where(self, packet: Packet, to: Side) -> tuple[Part, str, int | None] | None:
        """Part, name and first block of a packet that a bend can be at."""
        seen: list[Observation] = [make(0.0) for make in self._said.see(packet, to.other)]
        for what in seen:
            match what:
                case ScsiCommand():
                    self._command, self._with_data = what, False
                    return Part.COMMAND, what.name, _first_block(what)
                case ScsiReply():
                    command, self._command = self._command, None
                    return Part.STATUS, what.name, _first_block(command)
                case ControlRequest():
                    self._requests[what.packet] = what.name
                    return Part.REQUEST, what.name, None
                case ControlReply():
                    return Part.REPLY, self._requests.pop(what.packet, ""), None
        command = self._command
        if command and to is Side.HOST and isinstance(packet, BulkPacket) and packet.inward:
            first, self._with_data = not self._with_data, True
            return (Part.DATA, command.name, _first_block(command)) if first else None
        return None


def _is_at(place: Place, part: Part, name: str, lba: int | None) -> bool:
    """Whether that is one of the packets which the place counts."""
    return place.part is part and place.name in ("", name) and place.lba in (None, lba)


def _first_block(command: ScsiCommand | None) -> int | None:
    blocks = read_blocks(command.cdb) if command else None
    return blocks.lba if blocks else None
