"""What the two ends of the cable say to each other, as observations.

Nothing here raises on what a device or a host says: the firmware is under test, and its
nonsense is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from harness.cable import hid, scsi
from harness.cable.usbredir import (
    AltSettingStatus,
    BulkPacket,
    CancelDataPacket,
    ConfigurationStatus,
    ControlPacket,
    Data,
    DeviceConnect,
    DeviceDisconnect,
    EpInfo,
    GetAltSetting,
    GetConfiguration,
    Interface,
    InterfaceInfo,
    Packet,
    Reset,
    SetAltSetting,
    SetConfiguration,
    Side,
    StartInterruptReceiving,
    Status,
    TransferType,
)
from harness.observation import (
    SECTOR,
    BusReset,
    CableBent,
    CableCut,
    CableMended,
    CableMuted,
    ControlReply,
    ControlRequest,
    GaveUp,
    InterruptPolling,
    Observation,
    Plugged,
    ScsiCommand,
    ScsiReply,
    ServerAnswered,
    Stalled,
    Unplugged,
    sector_digest,
)

Make = Callable[[float], Observation]
"""An observation that only lacks its moment: what `Recorder.add` takes."""

KEPT_DATA = 64
"""How many bytes of a data phase a `ScsiReply` keeps."""

KEPT_SECTORS = 128
"""Of how many sectors of a data phase a `ScsiReply` has the digests: as many as SeaBIOS reads at
once (src/disk.c, basic_access)."""

KEPT_DIGESTS = 64 * 1024
"""Of how many sectors a conversation keeps the digests, those that were read first: 32 MiB of a
boot. What is read after that is counted only, so that a long conversation takes no memory."""

KEPT_READ = 1024 * 1024
"""For how many bytes of whole sectors at the head of data phases a conversation has room, 1 KiB
of recording for each 512 bytes."""

_NO_INTERFACE = Interface(255, 0, 0, 0)

SPEEDS = {0: "low", 1: "full", 2: "high", 3: "super"}

_BY_DEVICE = 0x80


def status_word(status: int) -> str:
    """The status of a usbredir packet in a word: "success", "stall"."""
    try:
        return Status(status).name.lower()
    except ValueError:
        return f"error {status}"


@dataclass(slots=True)
class _Drive:
    """One interface that speaks Bulk-Only Transport, and the command it is at."""

    command: scsi.CommandWrapper | None = None
    data_over: bool = False
    length: int = 0
    head: bytearray = field(default_factory=bytearray)
    keep: int = KEPT_DATA
    """How many bytes `head` may hold."""
    sectors: list[str] = field(default_factory=list)
    """Digests of what is read from the medium, as far as it came in whole sectors."""
    part: bytearray = field(default_factory=bytearray)
    """The beginning of the next sector."""
    digests: int = 0
    """How many of the sectors of this command may have one."""
    asked: dict[int, int] = field(default_factory=dict)
    """Lengths of the transfers of data and status under way, by packet id."""

    def begin(
        self, command: scsi.CommandWrapper | None, keep: int = KEPT_DATA, digests: int = 0
    ) -> None:
        """Forget the command before, whether it was answered or not."""
        self.command = command
        self.data_over = command is None or not command.length
        self.length = 0
        self.keep, self.digests = keep, digests
        self.head.clear()
        self.sectors.clear()
        self.part.clear()

    @property
    def reading(self) -> bool:
        """Whether what comes from the drive now is what is on the medium."""
        return self.command is not None and scsi.read_blocks(self.command.cdb) is not None

    def count(self, data: Data, length: int) -> None:
        """Add to the data phase."""
        self.head += data[: self.keep - len(self.head)]
        room = self.digests - len(self.sectors)
        if room > 0 and self.reading:
            self.part += data[: max(0, room * SECTOR - len(self.part))]
            whole = len(self.part) // SECTOR * SECTOR
            with memoryview(self.part) as part:
                places = range(0, whole, SECTOR)
                self.sectors.extend(sector_digest(part[at : at + SECTOR]) for at in places)
            del self.part[:whole]
        self.length += length
        if self.command and self.length >= self.command.length:
            self.data_over = True


class Conversation:
    """Follows one plugged gadget and one host, packet by packet."""

    def __init__(self) -> None:
        """Nothing has been said yet."""
        self._room = KEPT_READ
        self._digests = KEPT_DIGESTS
        self._forget()

    def _forget(self) -> None:
        self._ep_info: EpInfo | None = None
        self._interfaces: InterfaceInfo | None = None
        self._drives: dict[int, _Drive] = {}
        self._bulk: dict[int, _Drive] = {}
        self._reply_length: dict[int, int] = {}
        self._polled: set[int] = set()
        self._report_asked: dict[int, int] = {}
        """Interfaces whose report descriptor was asked for, by packet id."""
        self._usages: dict[int, int] = {}
        self._open: dict[int, str] = {}
        """Names of control requests that are not answered yet, by packet id."""

    def see(self, packet: Packet, sender: Side) -> tuple[Make, ...]:
        """What can be observed in a packet that has crossed the cable, often nothing.

        Interrupt transfers (keyboard, mouse) are no observations, that the host begins to ask
        for them is one. Bulk transfers of anything but a drive are none.
        """
        match packet:
            case BulkPacket():
                drive = self._bulk.get(packet.endpoint)
                if drive is None:
                    return ()
                seen = self._asked if sender is Side.HOST else self._answered
                return seen(drive, packet)
            case ControlPacket() if sender is Side.HOST:
                return self._control(packet)
            case ControlPacket():
                self._learn_usage(packet)
                self._open.pop(packet.id, None)
                return (_reply(packet.id, packet.status, packet.length),)
            case SetConfiguration():
                self._abandon()
                return self._standard(packet, 0x00, scsi.SET_CONFIGURATION, packet.configuration)
            case GetConfiguration():
                return self._standard(packet, _BY_DEVICE, scsi.GET_CONFIGURATION)
            case SetAltSetting():
                return self._standard(
                    packet, 0x01, scsi.SET_INTERFACE, packet.alt, packet.interface
                )
            case GetAltSetting():
                return self._standard(
                    packet, _BY_DEVICE | 0x01, scsi.GET_INTERFACE, 0, packet.interface
                )
            case ConfigurationStatus() | AltSettingStatus():
                length = self._reply_length.pop(packet.id, 0)
                self._open.pop(packet.id, None)
                return (_reply(packet.id, packet.status, 0 if packet.status else length),)
            case StartInterruptReceiving() if packet.endpoint not in self._polled:
                self._polled.add(packet.endpoint)
                return (self._polling(packet.endpoint),)
            case CancelDataPacket():
                return (partial(GaveUp, name=self._name_of(packet.id)),)
            case EpInfo():
                self._ep_info = packet
                self._find_drives()
            case InterfaceInfo():
                self._interfaces = packet
                self._find_drives()
            case DeviceConnect():
                speed = SPEEDS.get(packet.speed, "unknown")
                return (
                    partial(
                        Plugged, speed=speed, vendor=packet.vendor_id, product=packet.product_id
                    ),
                )
            case DeviceDisconnect():
                self._forget()
                return (Unplugged,)
            case Reset():
                self._abandon()
                return (BusReset,)
        return ()

    # --- control ----------------------------------------------------------------------------

    def _control(self, packet: ControlPacket) -> tuple[Make, ...]:
        name = scsi.control_name(packet.requesttype, packet.request, packet.value)
        if name == "BULK_ONLY_RESET" and (drive := self._drives.get(packet.index & 0xFF)):
            drive.begin(None)
        self._open[packet.id] = name
        if name == "GET_DESCRIPTOR(REPORT)":
            self._report_asked[packet.id] = packet.index & 0xFF
        return (
            partial(
                ControlRequest,
                packet=packet.id,
                request_type=packet.requesttype,
                request=packet.request,
                value=packet.value,
                index=packet.index,
                length=packet.length,
                name=name,
                interface_class=self._class_of(packet),
            ),
        )

    def _class_of(self, packet: ControlPacket) -> int:
        """The class of the interface that a request is for (USB 2.0, table 9-2), or -1."""
        if packet.requesttype & 0x1F != 1:
            return -1
        return next((i.cls for i in self._known() if i.number == packet.index & 0xFF), -1)

    def _known(self) -> Sequence[Interface]:
        """The interfaces that the gadget told of."""
        return self._interfaces.interfaces if self._interfaces else ()

    def _standard(
        self, packet: Packet, request_type: int, request: int, value: int = 0, index: int = 0
    ) -> tuple[Make, ...]:
        """A request that usbredir has a packet of its own for, as what it is on the wire."""
        length = 1 if request_type & _BY_DEVICE else 0
        self._reply_length[packet.id] = length
        self._open[packet.id] = name = scsi.control_name(request_type, request, value)
        return (
            partial(
                ControlRequest,
                packet=packet.id,
                request_type=request_type,
                request=request,
                value=value,
                index=index,
                length=length,
                name=name,
            ),
        )

    def _name_of(self, ident: int) -> str:
        """What a transfer is part of."""
        commands = (d.command for d in self._drives.values() if ident in d.asked and d.command)
        names = (scsi.command_name(command.cdb) for command in commands)
        return self._open.pop(ident, None) or next(names, "a transfer")

    # --- keyboard and mouse -----------------------------------------------------------------

    def _learn_usage(self, packet: ControlPacket) -> None:
        interface = self._report_asked.pop(packet.id, None)
        if interface is not None:
            self._usages[interface] = hid.usage(bytes(packet.data))

    def _polling(self, address: int) -> Make:
        interface = _NO_INTERFACE
        if self._ep_info:
            number = self._ep_info.at(address).interface
            known = (i for i in self._known() if i.number == number)
            interface = next(known, _NO_INTERFACE)
        return partial(
            InterruptPolling,
            endpoint=address,
            interface=interface.number,
            interface_class=interface.cls,
            interface_subclass=interface.subclass,
            interface_protocol=interface.protocol,
            usage=self._usages.get(interface.number, 0),
        )

    # --- the drive --------------------------------------------------------------------------

    def _find_drives(self) -> None:
        """Which bulk endpoints belong to a drive; a drive keeps its state while it stays."""
        if self._ep_info is None or self._interfaces is None:
            return
        numbers = {i.number for i in self._interfaces.interfaces if i[1:] == scsi.MASS_STORAGE}
        self._drives = {number: self._drives.get(number, _Drive()) for number in numbers}
        self._bulk = {}
        for address in (*range(0x10), *range(0x80, 0x90)):
            endpoint = self._ep_info.at(address)
            if endpoint.type == TransferType.BULK and endpoint.interface in numbers:
                self._bulk[address] = self._drives[endpoint.interface]

    def _abandon(self) -> None:
        """A reset or a new configuration ends every command (BOT 5.3.3), and all polling."""
        self._polled.clear()
        for drive in self._drives.values():
            drive.begin(None)
            drive.asked.clear()

    def _asked(self, drive: _Drive, packet: BulkPacket) -> tuple[Make, ...]:
        if packet.inward:
            drive.asked[packet.id] = packet.length
            return ()
        data = bytes(packet.data[:KEPT_DATA]) if packet.length == 31 else b""
        command = scsi.parse_cbw(data)
        if command is None:
            drive.asked[packet.id] = packet.length
            drive.head += packet.data[: drive.keep - len(drive.head)]
            return ()
        drive.begin(command, self._kept(command), min(KEPT_SECTORS, self._digests))
        return (
            partial(
                ScsiCommand,
                tag=command.tag,
                lun=command.lun,
                name=scsi.command_name(command.cdb),
                cdb=command.cdb,
                length=command.length,
                to_host=command.to_host,
            ),
        )

    def _kept(self, command: scsi.CommandWrapper) -> int:
        """How many bytes of its data phase are kept: a whole sector while there is room."""
        whole = scsi.read_blocks(command.cdb) is not None and self._room >= SECTOR
        return SECTOR if whole else KEPT_DATA

    def _answered(self, drive: _Drive, packet: BulkPacket) -> tuple[Make, ...]:
        command = drive.command
        asked = drive.asked.pop(packet.id, None)
        stall = packet.status == Status.STALL
        stalled: tuple[Make, ...] = (partial(Stalled, endpoint=packet.endpoint),) if stall else ()
        if not packet.inward:
            # The completion of the command wrapper itself was never entered in `asked`.
            if asked is not None and not drive.data_over:
                drive.count(b"", packet.length)
            return stalled
        if packet.status != Status.SUCCESS and not packet.length:
            # A stall ends the data phase; the wrapper follows (BOT 6.7.2). A stall of the
            # wrapper itself is followed by a second try (BOT 6.3, figure 2).
            drive.data_over |= stall
            return stalled
        status = scsi.parse_csw(bytes(packet.data)) if packet.length == scsi.CSW_BYTES else None
        if command is None:
            # Somebody else's answer: there is nothing that it could end.
            return () if status is None else (_scsi_reply(status, None, drive),)
        matches = status is not None and status.tag == command.tag
        if command.to_host and not drive.data_over and not matches:
            drive.count(packet.data, packet.length)
            # A short packet ends the data phase (USB 2.0, 5.8.3).
            drive.data_over |= asked is not None and packet.length < asked
            return stalled
        reply = _scsi_reply(status if matches else None, command, drive)
        self._room -= len(drive.head) if len(drive.head) > KEPT_DATA else 0
        self._digests -= len(drive.sectors)
        drive.begin(None)
        return (reply,)


def _scsi_reply(
    status: scsi.StatusWrapper | None, command: scsi.CommandWrapper | None, drive: _Drive
) -> Make:
    words = {0: "passed", 1: "failed"}
    known = status is not None and command is not None
    tag = command.tag if command else status.tag if status else 0
    return partial(
        ScsiReply,
        tag=tag,
        name=scsi.command_name(command.cdb) if command else "no command",
        status=words.get(status.status, "phase error") if known and status else "phase error",
        residue=status.residue if status else 0,
        length=drive.length if command else 0,
        data=bytes(drive.head) if command else b"",
        sectors=tuple(drive.sectors) if command else (),
    )


def _reply(packet: int, status: int, length: int) -> Make:
    return partial(ControlReply, packet=packet, status=status_word(status), length=length)


# --- as text --------------------------------------------------------------------------------


PAUSE = "nothing for"
"""How the transcript's words for a pause begin."""

PAUSE_SECONDS = 1.0
"""A cable on which nothing crosses for longer is said to be at rest."""


def transcript(stream: Iterable[Observation]) -> str:
    """The wire as text, one line for each command, request, reset and plug event.

    A line stands at the moment of the question and has the answer at its end, with the seconds
    that it took; "no answer" means that none came in this stream. A line of its own says how long
    nothing crossed, and what the last thing was before that.
    """
    lines: list[str] = []
    waiting: dict[tuple[str, int], tuple[int, float, str]] = {}
    last: tuple[float, str] | None = None

    def answer(key: tuple[str, int], words: str, at: float, fallback: str) -> str:
        place, asked, name = waiting.pop(key, (None, at, fallback))
        if place is None:
            lines.append(f"{at:+10.6f}  {fallback}: {words}")
        else:
            lines[place] = f"{lines[place]}: {words} in {at - asked:.3f} s"
        return f"the answer to {name}"

    for o in stream:
        name = ""
        match o:
            case Plugged():
                text = f"plugged in: {o.speed} speed, {o.vendor:04x}:{o.product:04x}"
            case Unplugged():
                text = "unplugged"
            case CableCut():
                text = "the cable is cut"
            case CableMuted():
                text = "the gadget is mute from here on"
            case CableMended():
                text = "the cable is mended"
            case CableBent():
                text = f"the cable bends {o.how}"
            case ServerAnswered():
                lines.append(f"{o.at:+10.6f}  the device's server: {o.request}: {o.answer}")
                continue
            case InterruptPolling():
                text = (
                    f"endpoint {o.endpoint:02X} is polled: interface {o.interface}, class "
                    f"{o.interface_class:02X} {o.interface_subclass:02X} {o.interface_protocol:02X}"
                )
            case BusReset():
                text = "bus reset"
            case Stalled():
                text = f"endpoint {o.endpoint:02X} stalls"
            case GaveUp():
                text = f"the host gives up {o.name}"
            case ControlRequest():
                name = f"{o.name} to {recipient(o)}"
                text = (
                    f"{o.name} type {o.request_type:02X} value {o.value:04X} "
                    f"index {o.index:04X} length {o.length}"
                )
            case ScsiCommand():
                name = o.name
                direction = "from" if o.to_host else "to"
                amount = f", {o.length} bytes {direction} drive" if o.length else ""
                text = f"LUN {o.lun} {o.name} [{o.cdb.hex(' ')}]{amount}"
            case ControlReply():
                words = f"{o.status}, {o.length} bytes"
                last = o.at, answer(("control", o.packet), words, o.at, "unasked reply")
                continue
            case ScsiReply():
                fallback = f"unasked status, {o.name}"
                last = o.at, answer(("scsi", o.tag), _outcome(o), o.at, fallback)
                continue
            case _:
                continue
        if last is not None and o.at - last[0] > PAUSE_SECONDS:
            lines.append(f"{last[0]:+10.6f}  {PAUSE} {o.at - last[0]:.1f} s, after {last[1]}")
        if isinstance(o, ControlRequest | ScsiCommand):
            key = ("scsi", o.tag) if isinstance(o, ScsiCommand) else ("control", o.packet)
            if key in waiting:  # SeaBIOS gives all its commands one tag
                lines[waiting[key][0]] += ": no answer"
            waiting[key] = len(lines), o.at, name
        last = o.at, name or text
        lines.append(f"{o.at:+10.6f}  {text}")
    for place, _, _ in waiting.values():
        lines[place] += ": no answer"
    return "".join(line + "\n" for line in lines)


def recipient(request: ControlRequest) -> str:
    """Whom a request is for (USB 2.0, table 9-2): "the device", "interface 0", "endpoint 81"."""
    number = request.index & 0xFF
    names = {1: f"interface {number}", 2: f"endpoint {number:02X}"}
    return names.get(request.request_type & 0x1F, "the device")


def _outcome(reply: ScsiReply) -> str:
    words = f"{reply.status}, {reply.length} bytes"
    if reply.residue:
        words += f", residue {reply.residue}"
    if reply.name == "REQUEST SENSE":
        sense = scsi.parse_sense(reply.data)
        words += f", {sense}" if sense else ", no sense data"
    return words
