"""The cable itself: passes every packet between the gadget's end and the host's end.

The gadget's end (usbredirect, built on libusbredirhost) stays connected for the life of the
gadget; hosts (QEMU's usb-redir device) come and go. To the gadget's end the relay is one
host that never leaves, to each host it is a gadget's end that starts with it:

* The relay greets the gadget's end itself, with the capabilities that every QEMU since 2.1
  announces. It cannot pass on the host's own hello: QEMU writes nothing, hello included,
  while its machine is stopped (hw/usb/redirect.c, usbredir_write), and a machine has to be
  stopped until its gadget is plugged in.
* A host is shown the gadget's hello and the latest description of the device. Its own hello
  is compared with the relay's and goes no further.
* device_disconnect is acknowledged to the gadget's end by the relay, and a host's
  acknowledgement goes no further: what that host says before it is about a device that has
  left, and is dropped.
* When a host leaves, the relay says good-bye in its name (`_Asked.goodbye`), and nothing
  that the gadget's end still answers to it reaches the next host.
* A cut cable looks to the host as if the gadget had left, and to the gadget's end as if the
  host had; a mended one as if a new gadget, and a new host, were plugged in.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import queue
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from harness.cable.bends import Bender
from harness.cable.capture import Capture
from harness.cable.conversation import Conversation, Make
from harness.cable.faults import Silence, answers
from harness.cable.usbredir import (
    AllocBulkStreams,
    AltSettingStatus,
    BufferedBulkPacket,
    BulkPacket,
    BulkReceivingStatus,
    CancelDataPacket,
    Cap,
    Caps,
    ConfigurationStatus,
    ControlPacket,
    DeviceConnect,
    DeviceDisconnect,
    DeviceDisconnectAck,
    EpInfo,
    FreeBulkStreams,
    GetAltSetting,
    GetConfiguration,
    Hello,
    InterfaceInfo,
    InterruptPacket,
    InterruptReceivingStatus,
    IsoPacket,
    IsoStreamStatus,
    Packet,
    Parser,
    Reset,
    SetAltSetting,
    SetConfiguration,
    Side,
    StartBulkReceiving,
    StartInterruptReceiving,
    StartIsoStream,
    StopBulkReceiving,
    StopInterruptReceiving,
    StopIsoStream,
    encode,
)
from harness.deadline import Deadline
from harness.errors import CableError, RigFault
from harness.observation import (
    CableBent,
    CableCut,
    CableMended,
    CableMuted,
    Observation,
    Plugged,
    Recorder,
)

HOST_CAPS = Cap(0xFF)
"""What QEMU 7.2.22's usb-redir announces (one word, 000000ff), seen on its socket; it has not
changed since bulk streams came with QEMU 2.1 (usbredir_create_parser)."""

OWN_HELLO = Hello(version="bootgate cable", words=(HOST_CAPS.value,))

BUFFER_LIMIT = 1024 * 1024
"""Bytes waiting for one end at which the other is not read any more."""

_READ_SIZE = 256 * 1024

AT_ONCE = 64
"""Packets that are handed to a socket together; the kernel takes 1024 (UIO_MAXIOV)."""

QUIET_SECONDS = 0.05
"""A cable on which nothing crosses for so long has time to hand its capture to the kernel."""

_LAST_ID = 0xB007_6A7F
"""The id of the relay's own last request in a host's name. QEMU's ids are the addresses of
the transfer descriptors in guest memory, which are aligned: never odd."""


class _End:
    """A socket, the parser of what it says, and the bytes that wait to be written to it."""

    def __init__(self, side: Side, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.side = side
        self.sock = sock
        self.parser = Parser(side)
        self.queued = 0
        self.sent = 0
        self.usable = True
        self._waiting: deque[memoryview] = deque()

    @property
    def backlog(self) -> int:
        """Bytes that wait to be written."""
        return self.queued - self.sent

    def send(self, data: bytes) -> None:
        if self.usable:
            self._waiting.append(memoryview(data))
            self.queued += len(data)

    def forget(self) -> None:
        """Throw away what waits to be written."""
        self._waiting.clear()
        self.queued = self.sent

    def write(self) -> None:
        """Write as much as the socket takes now."""
        with contextlib.suppress(BlockingIOError):
            while self._waiting:
                count = self.sock.sendmsg(itertools.islice(self._waiting, AT_ONCE))
                self.sent += count
                while self._waiting and count >= len(self._waiting[0]):
                    count -= len(self._waiting.popleft())
                if count:
                    self._waiting[0] = self._waiting[0][count:]


class _Asked:
    """What a host has asked of the gadget's end and has not been answered yet."""

    def __init__(self) -> None:
        self._anything = False
        # An id may be in use twice: asked for, cancelled, asked for again (usbredirhost.c,
        # usbredirhost_cancel_data_packet).
        self._transfers: Counter[int] = Counter()
        self._requests: Counter[int] = Counter()
        self._given_up: Counter[int] = Counter()
        self._receiving: dict[int, Packet] = {}
        self._heard: set[int] = set()
        self._streams = 0

    @property
    def anything_open(self) -> bool:
        """Whether a transfer or request waits for its answer; polling does not count."""
        return bool(self._transfers or self._requests)

    def note(self, packet: Packet) -> None:
        """Enter a packet that goes to the gadget's end."""
        self._anything = True
        match packet:
            case ControlPacket() | BulkPacket() | InterruptPacket():
                self._transfers[packet.id] += 1
            case SetConfiguration() | GetConfiguration() | SetAltSetting() | GetAltSetting():
                self._requests[packet.id] += 1
            case CancelDataPacket(id=ident):
                # One that was answered meanwhile is not answered again.
                if self._transfers[ident] + self._requests[ident] > self._given_up[ident]:
                    self._given_up[ident] += 1
            case StartInterruptReceiving(endpoint=endpoint):
                self._start(endpoint, StopInterruptReceiving(endpoint=endpoint))
            case StartIsoStream(endpoint=endpoint):
                self._start(endpoint, StopIsoStream(endpoint=endpoint))
            case StartBulkReceiving(endpoint=endpoint, stream_id=stream):
                self._start(endpoint, StopBulkReceiving(endpoint=endpoint, stream_id=stream))
            case StopInterruptReceiving() | StopIsoStream() | StopBulkReceiving():
                self._receiving.pop(packet.endpoint, None)
            case AllocBulkStreams():
                self._streams |= packet.endpoints
            case FreeBulkStreams():
                self._streams &= ~packet.endpoints

    def _start(self, endpoint: int, stop: Packet) -> None:
        self._receiving[endpoint] = stop
        self._heard.add(endpoint)

    def settles(self, packet: Packet) -> bool:
        """Whether a packet from the gadget's end is meant for this host; strikes it off."""
        match packet:
            case InterruptPacket() if packet.inward:
                return packet.endpoint in self._heard
            case ControlPacket() | BulkPacket() | InterruptPacket():
                return _strike(self._transfers, packet.id)
            case ConfigurationStatus() | AltSettingStatus():
                return _strike(self._requests, packet.id)
            case (
                IsoPacket()
                | IsoStreamStatus()
                | InterruptReceivingStatus()
                | BufferedBulkPacket()
                | BulkReceivingStatus()
            ):
                return packet.endpoint in self._heard
        return True

    def gave_up(self, packet: Packet) -> bool:
        """Whether this host gave up what a packet that `settles` answers; strikes that off."""
        return answers(packet) and _strike(self._given_up, packet.id)

    def goodbye(self) -> Iterator[Packet]:
        """What a host owes the gadget's end when it leaves; nothing if it asked for nothing.

        QEMU says nothing when it ends: it counts on its peer to close the device when the
        connection closes (usbredirhost_close cancels, stops and resets). Here the
        connection stays, so transfers are cancelled, polling is stopped and the device is
        reset, in the order in which QEMU does so when a guest lets a device go.

        The last packet is a question that the gadget's end answers at once. It works off
        control packets in order and answers a cancelled transfer while it cancels it
        (usbredirhost.c), so whatever comes before that answer is for the host that left.
        Ids do not tell: the next host runs the same BIOS at the same addresses.
        """
        if not self._anything:
            return
        for ident in self._transfers.elements():
            yield CancelDataPacket(id=ident)
        yield from self._receiving.values()
        if self._streams:
            yield FreeBulkStreams(endpoints=self._streams)
        yield Reset()
        yield GetConfiguration(id=_LAST_ID)


def _strike(open_ids: Counter[int], ident: int) -> bool:
    if not open_ids[ident]:
        del open_ids[ident]
        return False
    open_ids[ident] -= 1
    if not open_ids[ident]:
        del open_ids[ident]
    return True


class _Host:
    """The host that is plugged in, and what is kept about it."""

    def __init__(self, sock: socket.socket, recorder: Recorder, capture: Capture | None) -> None:
        self.end = _End(Side.HOST, sock)
        self.recorder = recorder
        self.capture = capture
        self.conversation = Conversation()
        self.greeted = False
        self.connected = False
        self.acks_owed = 0
        self.asked = _Asked()
        self.silence = Silence()
        self.plugged: Plugged | None = None
        self.plug_mark = 0
        """How much must have been written for device_connect to have crossed."""

    def record(self, make: Callable[[float], Observation]) -> None:
        """Add an observation, and keep the one that says that the gadget is plugged in."""

        def keep(at: float) -> Observation:
            seen = make(at)
            if isinstance(seen, Plugged):
                self.plugged = seen
            return seen

        self.recorder.add(keep)


class Relay:
    """One cable. All its public methods may be called from any thread, and do not block long.

    One thread owns the sockets and everything about them; the public methods hand it their
    work and wait until it is done. It takes over the sockets and closes them.
    """

    def __init__(self, gadget: socket.socket) -> None:
        """A cable in the gadget's end of which something speaks usbredir, now or later."""
        self.problem: RigFault | None = None
        """The first thing that broke; the end that it broke at is not listened to any more.

        `attach` forgets what broke at a host's end, `unplug` what broke at the gadget's.
        """
        self._gadget = _End(Side.GADGET, gadget)
        self._host: _Host | None = None
        self._hello: Hello | None = None
        self._description: dict[type[Packet], Packet] = {}
        self._goodbyes = 0
        """How many former hosts' last questions have not been answered."""
        self._left = "no host is plugged in"
        self._cut = False
        self._muted = False
        self._bender: Bender | None = None
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()
        self._changed = threading.Condition()
        self._plugged: Plugged | None = None
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._watched: dict[_End, int] = {}
        self._closing = False
        self._unwritten = False
        """Whether something of the capture may not have left this process."""
        self._chunk = memoryview(bytearray(_READ_SIZE))
        self._thread = threading.Thread(target=self._run, name="cable", daemon=True)
        self._thread.start()

    # --- for the rig ------------------------------------------------------------------------

    @property
    def gadget_version(self) -> str:
        """What the gadget's end calls itself in its hello; empty before that."""
        hello = self._hello
        return hello.version if hello else ""

    @property
    def awaiting(self) -> bool:
        """Whether the host waits for an answer of the gadget's."""
        host = self._host
        return host is not None and host.asked.anything_open

    def attach(self, host: socket.socket, recorder: Recorder, capture: Path | None) -> None:
        """Plug the cable into a host; what crosses goes to `recorder`, and to a capture file.

        The host may still be stopped: what it has to know waits in its socket. Raises
        CableError when another host is plugged in, DiskFull or CableError when the capture
        cannot be begun.
        """

        def work() -> None:
            if self._host:
                raise CableError("the cable is plugged into a host already; detach it first")
            if self._gadget.usable:
                self.problem = None
            self._host = _Host(host, recorder, Capture(capture) if capture else None)
            self._left = ""
            if self._cut:
                recorder.add(CableCut)
            if self._muted:
                recorder.add(CableMuted)
            self._greet()

        self._do(work)

    def detach(self) -> None:
        """Pull the cable out of the host, which went away or is about to.

        The gadget's end stays connected and finds the device reset. Without a host it does
        nothing.
        """
        self._do(lambda: self._host_left("the cable was pulled out of the host"))

    def wait_reset(self, deadline: Deadline) -> None:
        """Wait until the device has been reset after the host that left last.

        A gadget that is unbound while the VM's kernel resets it takes that kernel minutes: each
        question to a device that has forgotten its address is waited out (drivers/usb/core/hub.c,
        hub_port_init, initial_descriptor_timeout). Raises DeadlineExpired, and CableError (or
        DiskFull) when the cable broke.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._goodbyes or self.problem, deadline.remaining())
            if self.problem:
                raise self.problem
            if self._goodbyes:
                raise deadline.failure()

    def wait_plugged(self, deadline: Deadline) -> Plugged:
        """Wait until the gadget's device_connect has been written to the host's socket.

        Raises DeadlineExpired when that takes too long, and CableError (or DiskFull) when
        the cable broke or is cut, or no host is plugged in.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._plugged or self.problem or self._left or self._cut,
                deadline.remaining(),
            )
            if self.problem:
                raise self.problem
            if self._plugged:
                return self._plugged
            if self._left:
                raise CableError(f"the gadget was not plugged in: {self._left}; start a host")
            if self._cut:
                raise CableError("the gadget was not plugged in: the cable is cut; mend it")
        raise deadline.failure()

    def unplug(self) -> None:
        """Tell the host that the gadget left the bus, and expect a new usbredirect.

        To be called after the old usbredirect ended and before the next one starts: from
        here on all is skipped up to the next hello, so that a packet which the old one left
        unfinished does no harm. Nothing is written to the gadget's end until that hello.
        """

        def work() -> None:
            self._device_left()
            self._hello = None
            self._goodbyes = 0
            self._gadget.forget()
            self._gadget.parser.seek_hello()
            self._gadget.parser.caps = Caps()
            if not self._gadget.usable and self._gadget.sock.fileno() >= 0:
                # Given up because of what the old usbredirect said, not because it is gone.
                self._gadget.usable = True
                self.problem = None

        self._do(work)

    def lose(self) -> None:
        """The gadget's machine is about to go: the host is told at once that the gadget left."""

        def work() -> None:
            self._device_left()
            self._ignore(self._gadget)
            self._gadget.usable = False
            self._gadget.sock.close()
            self._hello = None
            self._goodbyes = 0

        self._do(work)

    def replace(self, gadget: socket.socket) -> None:
        """Another machine takes the place of one that was lost; `gadget` is its end."""

        def work() -> None:
            self._gadget = _End(Side.GADGET, gadget)

        self._do(work)

    # --- faults -----------------------------------------------------------------------------

    def bend(self, bender: Bender | None) -> None:
        """Have `bender` say what crosses in place of each packet, from the next host's plug on."""

        def work() -> None:
            self._bender = bender

        self._do(work)

    def cut(self) -> None:
        """Pull the cable: the host is told that its device left, and nothing crosses any more.

        Until `mend`; a host that is attached meanwhile sees no device. The gadget's end gets
        a good-bye in the host's name and finds its device reset.
        """

        def work() -> None:
            if self._cut:
                return
            self._cut = True
            self._observe(CableCut)
            host = self._host
            if host and host.connected:
                self._say_goodbye(host)
                self._take_device_away(host)

        self._do(work)

    def mute(self) -> None:
        """Take the gadget's voice: it stays plugged in and takes what it is sent, in silence.

        No answer of its crosses any more (`Silence` says what does), until `mend`; those that
        were swallowed are lost. A host that is attached meanwhile sees a mute device.
        """

        def work() -> None:
            if not self._muted:
                self._muted = True
                self._observe(CableMuted)

        self._do(work)

    def mend(self, seconds: float = 0.0) -> None:
        """Undo `cut`, which plugs the gadget in again, and `mute`. Without either, do nothing.

        After so many seconds, without waiting for that.
        """

        def work() -> None:
            if self._cut or self._muted:
                self._cut = self._muted = False
                self._observe(CableMended)
                self._greet()

        self._do(partial(self._after, seconds, work) if seconds else work)

    def close(self) -> None:
        """Close both sockets and end the thread. May be called again."""

        def work() -> None:
            self._closing = True

        if self._thread.is_alive():
            self._do(work)
            self._thread.join()

    # --- where packets cross ----------------------------------------------------------------

    def forward(self, packet: Packet, to: Side) -> None:
        """Pass one packet on to that end, as the bends have it: every packet goes through here.

        A packet that does not reach this (cut, mute) has not crossed and is not observed. It may
        be replaced, and `cut`, `mute` and `mend` be called from there. Called on the cable's own
        thread. The relay's good-byes in the name of a host that left, its hello and its
        acknowledgements to the gadget's end do not pass here.
        """
        host = self._host
        if host is None or self._bender is None:
            self._cross(packet, to)
            return
        bent, bend = self._bender.bend(packet, to)
        if bend is None:
            self._cross(packet, to)
            return
        how = str(bend)
        comment = f"bent: {how}"
        self._observe(lambda at: CableBent(at, how))
        if bent.back and host.capture:
            # It was said, though it goes no further.
            host.capture.write(packet, to.other, time.time(), comment)
        for back in bent.back:
            self._cross(back, to.other, comment)
        if bent.seconds:
            cross = partial(self._cross_late, host, host.asked, bent.on, to, comment)
            self._after(bent.seconds, cross)
        else:
            for crossing in bent.on:
                self._cross(crossing, to, comment)

    def _cross_late(
        self, host: _Host, asked: _Asked, packets: Sequence[Packet], to: Side, comment: str
    ) -> None:
        """Pass packets on that were held back, if host and gadget are still those of then."""
        if self._host is host and host.connected and host.asked is asked:
            for packet in packets:
                self._cross(packet, to, comment)

    def _cross(self, packet: Packet, to: Side, comment: str = "") -> None:
        """Write it to that end, and take note of it. `comment` is what the capture says of it."""
        host = self._host
        if host is None:
            return
        end = host.end if to is Side.HOST else self._gadget
        self._send(end, packet)
        if to is Side.GADGET:
            host.asked.note(packet)
        for make in host.conversation.see(packet, to.other):
            host.record(make)
        if isinstance(packet, DeviceConnect):
            host.plug_mark = end.queued
        elif isinstance(packet, DeviceDisconnect):
            host.plugged = None
            host.acks_owed += 1
        if host.capture:
            host.capture.write(packet, to.other, time.time(), comment)
            self._unwritten = True

    # --- packets ----------------------------------------------------------------------------

    def _send(self, end: _End, packet: Packet) -> None:
        end.send(packet.raw or encode(packet, end.side.other, self._caps()))

    def _caps(self) -> Caps:
        """What both ends go by: the gadget's end with the relay, the host with the gadget."""
        return Caps(HOST_CAPS, self._hello.caps) if self._hello else Caps()

    def _from_gadget(self, packet: Packet) -> None:
        match packet:
            case Hello():
                self._gadget_hello(packet)
            case EpInfo() | InterfaceInfo():
                self._description[type(packet)] = packet
                if self._host and self._host.connected:
                    self.forward(packet, Side.HOST)
            case DeviceConnect():
                self._description[type(packet)] = packet
                self._greet()
            case DeviceDisconnect():
                self._device_left()
                if Cap.DEVICE_DISCONNECT_ACK in self._caps().gadget:
                    self._send(self._gadget, DeviceDisconnectAck())
            case ConfigurationStatus(id=ident) if self._goodbyes and ident == _LAST_ID:
                self._goodbyes -= 1
                self._greet()
            case _ if self._goodbyes:
                pass
            case _:
                host = self._host
                if host and host.connected and host.asked.settles(packet):
                    given_up = host.asked.gave_up(packet)
                    crossing = host.silence.swallow(packet, given_up) if self._muted else packet
                    if crossing:
                        self.forward(crossing, Side.HOST)

    def _gadget_hello(self, hello: Hello) -> None:
        if self._hello:
            # A second one without `unplug`: usbredirect was started anew.
            self._device_left()
            self._goodbyes = 0
        host = self._host
        before = host.end.parser.caps.gadget if host and host.greeted else hello.caps
        if hello.caps != before:
            raise CableError(
                f"the new usbredirect announces {hello.caps!r}, the host was told {before!r}; "
                "use one version of usbredirect, or start the host again"
            )
        self._hello = hello
        self._gadget.parser.caps = self._caps()
        self._send(self._gadget, OWN_HELLO)
        self._greet()

    def _greet(self) -> None:
        """Show the host the gadget's end and the device, as far as they are known."""
        host = self._host
        if host is None or self._hello is None or self._goodbyes or self._cut:
            return
        if not host.greeted:
            host.greeted = True
            host.end.parser.caps = self._caps()
            self.forward(self._hello, Side.HOST)
        if DeviceConnect in self._description and not host.connected:
            host.connected = True
            for kind in (EpInfo, InterfaceInfo, DeviceConnect):
                if kind in self._description:
                    self.forward(self._description[kind], Side.HOST)

    def _from_host(self, host: _Host, packet: Packet) -> None:
        match packet:
            case Hello():
                if packet.caps != HOST_CAPS:
                    raise CableError(
                        f"the host announces {packet.caps!r}, the gadget's end was told "
                        f"{HOST_CAPS!r}; use another version of QEMU"
                    )
            case DeviceDisconnectAck():
                host.acks_owed -= 1 if host.acks_owed else 0
            case _ if not host.connected or host.acks_owed:
                pass
            case CancelDataPacket(id=ident) if answer := host.silence.give_up(ident):
                for make in host.conversation.see(packet, Side.HOST):
                    host.record(make)
                self.forward(answer, Side.HOST)
            case _:
                self.forward(packet, Side.GADGET)

    def _device_left(self) -> None:
        self._description.clear()
        if self._host and self._host.connected:
            self._take_device_away(self._host)

    def _take_device_away(self, host: _Host) -> None:
        host.connected = False
        host.asked = _Asked()
        host.silence = Silence()
        self.forward(DeviceDisconnect(), Side.HOST)

    def _say_goodbye(self, host: _Host) -> None:
        if self._hello and self._gadget.usable:
            for packet in host.asked.goodbye():
                self._send(self._gadget, packet)
                self._goodbyes += isinstance(packet, GetConfiguration)

    def _observe(self, make: Make) -> None:
        if self._host:
            self._host.record(make)

    def _host_left(self, why: str) -> None:
        host, self._host = self._host, None
        if host is None:
            return
        self._left = why
        self._say_goodbye(host)
        self._ignore(host.end)
        host.end.sock.close()
        if host.capture:
            host.capture.close()

    # --- the thread -------------------------------------------------------------------------

    def _do(self, work: Callable[[], None]) -> None:
        """Have the thread do something, wait for it, and raise what it raised."""
        if threading.current_thread() is self._thread:
            work()
            return
        done = threading.Event()
        failure: list[Exception] = []

        def run() -> None:
            try:
                work()
            except Exception as error:  # it is the caller's, whatever it is
                failure.append(error)
            self._announce()
            done.set()

        self._work.put(run)
        with contextlib.suppress(OSError):
            self._waker.send(b"w")
        while not done.is_set():
            if not self._thread.is_alive():
                raise CableError("the cable was closed; make a new one")
            done.wait(1.0)
        if failure:
            raise failure[0]

    def _run(self) -> None:
        while not self._closing:
            self._watch()
            ready = self._selector.select(self._next_due())
            for key, events in ready:
                if key.data is None:
                    self._wake.recv(4096)
                elif key.data in self._watched:
                    self._guarded(key.data, partial(self._serve, key.data, events))
            while not self._work.empty():
                self._work.get()()
            while self._due and self._due[0][0] <= time.monotonic():
                # What is late is the host's: a gadget's end has no part in it.
                late = self._host.end if self._host else self._gadget
                self._guarded(late, heapq.heappop(self._due)[2])
            # Before who is written to can tell anybody, and again when it has crossed.
            self._announce()
            for end in self._ends():
                if end.usable and end.backlog:
                    self._guarded(end, partial(self._write, end))
            if self._unwritten and not ready:
                self._unwritten = False
                if self._host and self._host.capture:
                    self._guarded(self._host.end, self._host.capture.flush)
            self._announce()
        self._shut()

    def _after(self, seconds: float, work: Callable[[], None]) -> None:
        """Have the thread do something later."""
        moment = time.monotonic() + seconds
        heapq.heappush(self._due, (moment, next(self._counter), work))

    def _next_due(self) -> float | None:
        """Seconds until there is something to do; None while there is not."""
        due = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
        if not self._unwritten:
            return due
        return QUIET_SECONDS if due is None else min(due, QUIET_SECONDS)

    def _guarded(self, end: _End, work: Callable[[], None]) -> None:
        """Do something that concerns an end; if it fails, that end is given up."""
        try:
            work()
        except RigFault as error:
            self._give_up(end, error)
        except Exception as error:
            self._give_up(end, CableError(f"the relay failed: {error!r}; report this"))

    def _give_up(self, end: _End, problem: RigFault) -> None:
        self.problem = self.problem or problem
        if end is self._gadget:
            # It may be a fault put on the cable that fails, and fail again.
            with contextlib.suppress(Exception):
                self._device_left()
        end.usable = False

    def _watch(self) -> None:
        """Tell the selector what may be read and written now."""
        ends = self._ends()
        for end in ends:
            if not end.usable:
                self._ignore(end)
                continue
            events = selectors.EVENT_WRITE if end.backlog else 0
            if all(other.backlog < BUFFER_LIMIT for other in ends if other is not end):
                events |= selectors.EVENT_READ
            if events == self._watched.get(end, 0):
                continue
            self._ignore(end)
            if events:
                self._selector.register(end.sock, events, end)
                self._watched[end] = events

    def _ends(self) -> list[_End]:
        return [self._gadget, self._host.end] if self._host else [self._gadget]

    def _write(self, end: _End) -> None:
        """As much as its socket takes at once: to ask first whether it does takes longer."""
        try:
            end.write()
        except OSError:
            self._gone(end)

    def _ignore(self, end: _End) -> None:
        if self._watched.pop(end, None):
            self._selector.unregister(end.sock)

    def _serve(self, end: _End, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                end.write()
            if not events & selectors.EVENT_READ:
                return
            count = end.sock.recv_into(self._chunk)
        except BlockingIOError:
            return
        except OSError:
            count = 0  # reset by peer: gone, like one that closed
        if not count:
            self._gone(end)
            return
        for packet in end.parser.feed(self._chunk[:count]):
            host = self._host
            if end is self._gadget:
                self._from_gadget(packet)
            elif host and end is host.end:
                self._from_host(host, packet)

    def _gone(self, end: _End) -> None:
        self._ignore(end)
        if end is not self._gadget:
            self._host_left("the host closed its end of the cable")
            return
        end.sock.close()
        raise CableError("the gadget's end of the cable was closed; look at the gadget's log")

    def _announce(self) -> None:
        """Wake who waits for the gadget to be plugged in."""
        host = self._host
        crossed = host is not None and host.plugged and host.end.sent >= host.plug_mark
        with self._changed:
            self._plugged = host.plugged if host and crossed else None
            self._changed.notify_all()

    def _shut(self) -> None:
        host, self._host = self._host, None
        if host:
            host.end.sock.close()
            if host.capture:
                with contextlib.suppress(RigFault):
                    host.capture.close()
        self._left = self._left or "the cable was closed"
        self._gadget.sock.close()
        self._selector.close()
        self._wake.close()
        self._waker.close()
        with self._changed:
            self._plugged = None
            self._changed.notify_all()
