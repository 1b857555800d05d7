"""The relay over real socket pairs: hosts come and go, gadgets leave, streams break."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.cable import bends
from harness.cable.bends import Bender, Part, Place
from harness.cable.relay import BUFFER_LIMIT, HOST_CAPS, Relay
from harness.cable.usbredir import (
    AltSettingStatus,
    BulkPacket,
    CancelDataPacket,
    Cap,
    Caps,
    ConfigurationStatus,
    ControlPacket,
    DeviceConnect,
    DeviceDisconnect,
    DeviceDisconnectAck,
    Endpoint,
    EpInfo,
    GetAltSetting,
    GetConfiguration,
    Hello,
    Interface,
    InterfaceInfo,
    InterruptPacket,
    InterruptReceivingStatus,
    Packet,
    Parser,
    Reset,
    SetAltSetting,
    SetConfiguration,
    Side,
    StartInterruptReceiving,
    Status,
    StopInterruptReceiving,
    encode,
)
from harness.deadline import Deadline
from harness.errors import CableError, DeadlineExpired
from harness.observation import (
    BusReset,
    CableBent,
    CableCut,
    CableMended,
    CableMuted,
    ControlReply,
    ControlRequest,
    Observation,
    Plugged,
    Recorder,
    ScsiCommand,
    ScsiReply,
    Unplugged,
)

ALL = Caps(Cap(0xFF), Cap(0xFF))
HOST_HELLO = Hello(version="qemu usb-redir guest 7.2.22", words=(0xFF,))
GADGET_HELLO = Hello(version="usbredirect 0.13.0", words=(0xFF,))

_NONE = Endpoint(255, 0, 0, 0, 0)
_ENDPOINTS = {
    0x00: Endpoint(0, 0, 0, 64, 0),
    0x10: Endpoint(0, 0, 0, 64, 0),
    0x11: Endpoint(3, 4, 0, 8, 0),
    0x02: Endpoint(2, 0, 1, 512, 0),
    0x12: Endpoint(2, 0, 1, 512, 0),
}
DESCRIPTION: tuple[Packet, ...] = (
    EpInfo(endpoints=tuple(_ENDPOINTS.get(i, _NONE) for i in range(32))),
    InterfaceInfo(interfaces=(Interface(0, 3, 0, 0), Interface(1, 8, 6, 0x50))),
    DeviceConnect(
        speed=2,
        device_class=0,
        device_subclass=0,
        device_protocol=0,
        vendor_id=0x3346,
        product_id=0x1009,
        device_version_bcd=0x0510,
    ),
)


def soon(what: str = "the test") -> Deadline:
    return Deadline.after(5, what)


class Peer:
    """One end of the cable, played by the test."""

    def __init__(self, side: Side, caps: Caps = ALL) -> None:
        self.side = side
        self.sock, self.far = socket.socketpair()
        self.sock.settimeout(5)
        self.caps = caps
        self._parser = Parser(side.other)
        self._packets: list[Packet] = []

    def say(self, *packets: Packet) -> None:
        for packet in packets:
            self.sock.sendall(encode(packet, self.side, self.caps))

    def hear(self) -> Packet:
        """The next packet. Raises TimeoutError after 5 s, EOFError at the end."""
        while not self._packets:
            chunk = self.sock.recv(65536)
            if not chunk:
                raise EOFError
            for packet in self._parser.feed(chunk):
                if isinstance(packet, Hello):
                    self._parser.caps = self.caps
                self._packets.append(packet)
        return self._packets.pop(0)

    def hear_all(self, count: int) -> list[Packet]:
        return [self.hear() for _ in range(count)]

    def silent(self) -> bool:
        """Whether nothing comes for a tenth of a second."""
        self.sock.settimeout(0.1)
        try:
            self.hear()
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(5)
        return False

    def restart(self) -> None:
        """Be a new program on the same connection."""
        self._parser = Parser(self.side.other)
        self._packets.clear()


class Cable:
    """A relay with a gadget's end, and hosts to plug in."""

    def __init__(self) -> None:
        self.gadget = Peer(Side.GADGET)
        self.relay = Relay(self.gadget.far)
        self.recorder = Recorder()
        self._hosts: list[Peer] = []

    def host(self, capture: Path | None = None, hello: Hello = HOST_HELLO) -> Peer:
        peer = Peer(Side.HOST)
        self.recorder = Recorder()
        self.relay.attach(peer.far, self.recorder, capture)
        peer.say(hello)
        self._hosts.append(peer)  # a host that nobody names any more has not left
        return peer

    def gadget_starts(self) -> None:
        self.gadget.say(GADGET_HELLO)
        assert self.gadget.hear() == Hello(version="bootgate cable", words=(0xFF,))
        self.gadget.say(*DESCRIPTION)

    def plugged_host(self, capture: Path | None = None) -> Peer:
        host = self.host(capture)
        self.gadget_starts()
        assert host.hear_all(4) == [GADGET_HELLO, *DESCRIPTION]
        self.relay.wait_plugged(soon())
        return host

    def seen(self, kind: type[Observation], count: int = 1) -> list[Observation]:
        """The observations of that kind, once there are so many. Fails after 5 s."""
        assert self.recorder.wait_until(lambda s: sum(type(o) is kind for o in s) >= count, 5), kind
        return [o for o in self.recorder.seen() if type(o) is kind]

    def answer_goodbye(self) -> list[Packet]:
        """Hear a host's good-bye, answer it, and give what it consisted of."""
        heard = []
        while not isinstance(packet := self.gadget.hear(), GetConfiguration):
            heard.append(packet)
        self.gadget.say(ConfigurationStatus(id=packet.id, status=0, configuration=1))
        return heard


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    yield made
    made.relay.close()
    made.gadget.sock.close()


def problem(cable: Cable) -> str:
    """What broke, once something has. Fails after 5 s."""
    with pytest.raises(CableError) as caught:
        cable.relay.wait_plugged(soon())
    return str(caught.value)


def bulk_in(ident: int, length: int = 512) -> BulkPacket:
    return BulkPacket(id=ident, endpoint=0x82, length=length)


def bulk_data(ident: int, data: bytes) -> BulkPacket:
    return BulkPacket(id=ident, endpoint=0x82, length=len(data), data=data)


# --- plugging in ----------------------------------------------------------------------------


def test_first_host_gets_the_gadget(cable: Cable) -> None:
    host = cable.plugged_host()
    assert cable.relay.wait_plugged(soon()) == cable.seen(Plugged)[0]
    assert cable.seen(Plugged)[0] == Plugged(
        cable.seen(Plugged)[0].at, speed="high", vendor=0x3346, product=0x1009
    )
    request = ControlPacket(
        id=7, endpoint=0x80, requesttype=0x80, request=6, value=0x100, index=0, length=8
    )
    host.say(Reset(), request)
    assert cable.gadget.hear_all(2) == [Reset(), request]
    assert cable.seen(BusReset)
    named = cable.seen(ControlRequest)[0]
    assert isinstance(named, ControlRequest)
    assert (named.packet, named.name) == (7, "GET_DESCRIPTOR(DEVICE)")


def test_gadget_started_before_the_first_host(cable: Cable) -> None:
    cable.gadget_starts()
    host = cable.host()
    assert host.hear_all(4) == [GADGET_HELLO, *DESCRIPTION]
    cable.relay.wait_plugged(soon())


def test_a_stopped_host_is_plugged_in_although_it_says_nothing(cable: Cable) -> None:
    host = Peer(Side.HOST)
    cable.relay.attach(host.far, Recorder(), None)
    cable.gadget_starts()
    cable.relay.wait_plugged(soon())
    assert host.hear_all(4) == [GADGET_HELLO, *DESCRIPTION]


def test_device_connect_that_waits_in_the_buffer_has_not_crossed(cable: Cable) -> None:
    host = Peer(Side.HOST)
    host.far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    host.far.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            host.far.send(bytes(65536))
    cable.gadget_starts()
    cable.relay.attach(host.far, Recorder(), None)
    with pytest.raises(DeadlineExpired, match="the gadget"):
        cable.relay.wait_plugged(Deadline.after(0.1, "the gadget"))
    while host.sock.recv(1 << 20).count(0) >= 4096:
        pass
    cable.relay.wait_plugged(soon())


def test_no_host_is_said_at_once(cable: Cable) -> None:
    assert "no host" in problem(cable)


def test_one_host_at_a_time(cable: Cable) -> None:
    cable.host()
    with pytest.raises(CableError, match="detach"):
        cable.host()


def test_second_host_is_shown_the_device_again(cable: Cable) -> None:
    first = cable.plugged_host()
    first.say(bulk_in(1))
    assert cable.gadget.hear() == bulk_in(1)
    first.sock.close()
    cable.answer_goodbye()
    cable.relay.detach()
    second = cable.host()
    assert second.hear_all(4) == [GADGET_HELLO, *DESCRIPTION]
    cable.relay.wait_plugged(soon())
    assert cable.gadget.silent(), "its hello must not reach the gadget's end"
    second.say(bulk_in(1))
    assert cable.gadget.hear() == bulk_in(1)


def test_the_latest_description_is_shown(cable: Cable) -> None:
    first = cable.plugged_host()
    fewer = InterfaceInfo(interfaces=(Interface(1, 8, 6, 0x50),))
    cable.gadget.say(fewer)
    assert first.hear() == fewer
    cable.relay.detach()
    second = cable.host()
    assert second.hear_all(4) == [GADGET_HELLO, DESCRIPTION[0], fewer, DESCRIPTION[2]]


def test_other_capabilities_are_a_limit(cable: Cable) -> None:
    cable.gadget_starts()
    cable.host(hello=Hello(version="old", words=(0x7F,)))
    assert "another version of QEMU" in problem_after_hello(cable)
    cable.relay.detach()
    cable.host()
    cable.relay.wait_plugged(soon())
    assert cable.relay.problem is None, "a host's fault must not outlive it"


def problem_after_hello(cable: Cable) -> str:
    deadline = soon()
    while cable.relay.problem is None and not deadline.expired:
        time.sleep(0.005)
    return problem(cable)


def test_gadget_without_64_bit_ids(cable: Cable) -> None:
    small = Hello(version="small", words=(0x18,))
    caps = Caps(HOST_CAPS, small.caps)
    cable.gadget.caps = caps
    host = cable.host()
    host.caps = caps
    cable.gadget.say(small)
    cable.gadget.hear()
    cable.gadget.say(*DESCRIPTION)
    assert [type(p) for p in host.hear_all(4)] == [Hello, EpInfo, InterfaceInfo, DeviceConnect]
    host.say(bulk_in(1))
    assert cable.gadget.hear() == bulk_in(1)


# --- leaving --------------------------------------------------------------------------------


def test_a_leaving_host_pays_what_it_owes(cable: Cable) -> None:
    host = cable.plugged_host()
    host.say(bulk_in(16), bulk_in(32), StartInterruptReceiving(endpoint=0x81))
    cable.gadget.hear_all(3)
    cable.gadget.say(bulk_data(16, b"answered"))
    assert host.hear() == bulk_data(16, b"answered")
    cable.relay.detach()
    assert cable.answer_goodbye() == [
        CancelDataPacket(id=32),
        StopInterruptReceiving(endpoint=0x81),
        Reset(),
    ]


def test_the_device_is_reset_once_the_good_bye_is_answered(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.relay.wait_reset(soon())
    host.say(bulk_in(16))
    cable.gadget.hear_all(1)
    cable.relay.wait_reset(soon())
    cable.relay.detach()
    with pytest.raises(DeadlineExpired):
        cable.relay.wait_reset(Deadline.after(0.05, "the device to be reset"))
    cable.answer_goodbye()
    cable.relay.wait_reset(soon())


def test_a_cable_that_breaks_resets_nothing(cable: Cable) -> None:
    host = cable.plugged_host()
    host.say(bulk_in(16))
    cable.gadget.hear_all(1)
    cable.relay.detach()
    cable.gadget.sock.close()
    with pytest.raises(CableError):
        cable.relay.wait_reset(soon())


def test_a_host_that_asked_nothing_owes_nothing(cable: Cable) -> None:
    cable.plugged_host()
    cable.relay.detach()
    assert cable.gadget.silent()


def test_stale_answers_do_not_reach_the_next_host(cable: Cable) -> None:
    first = cable.plugged_host()
    first.say(bulk_in(16), SetConfiguration(id=48, configuration=1))
    first.say(StartInterruptReceiving(endpoint=0x81))
    cable.gadget.hear_all(3)
    cable.relay.detach()
    second = cable.host()
    assert second.silent(), "the good-bye is not answered yet"
    # The next host runs the same BIOS: it will use the same ids.
    cable.gadget.say(bulk_data(16, b"stale"), InterruptReceivingStatus(endpoint=0x81, status=0))
    cable.gadget.say(InterruptPacket(id=0, endpoint=0x81, length=1, data=b"k"))
    cable.gadget.say(ConfigurationStatus(id=48, status=0, configuration=1))
    cable.answer_goodbye()
    assert second.hear_all(4) == [GADGET_HELLO, *DESCRIPTION]
    second.say(bulk_in(16))
    assert cable.gadget.hear() == bulk_in(16)
    cable.gadget.say(bulk_data(16, b"fresh"))
    assert second.hear() == bulk_data(16, b"fresh")


def test_answers_that_nobody_asked_for_are_dropped(cable: Cable) -> None:
    host = cable.plugged_host()
    host.say(bulk_in(1))
    cable.gadget.hear()
    cable.gadget.say(bulk_data(99, b"whose?"), bulk_data(1, b"mine"), bulk_data(1, b"again"))
    cable.gadget.say(InterruptPacket(endpoint=0x81, length=1, data=b"k"))
    cable.gadget.say(ConfigurationStatus(id=5, status=0, configuration=1))
    assert host.hear() == bulk_data(1, b"mine")
    assert host.silent()


def test_an_answer_is_awaited_from_its_question_on(cable: Cable) -> None:
    host = cable.plugged_host()
    assert not cable.relay.awaiting
    host.say(bulk_in(1), StartInterruptReceiving(endpoint=0x81))
    assert cable.gadget.hear_all(2) == [bulk_in(1), StartInterruptReceiving(endpoint=0x81)]
    assert cable.relay.awaiting
    cable.gadget.say(bulk_data(1, b"done"))
    assert host.hear() == bulk_data(1, b"done")
    assert not cable.relay.awaiting, "polling is no question"


def test_an_id_used_twice_is_answered_twice(cable: Cable) -> None:
    host = cable.plugged_host()
    host.say(bulk_in(1), CancelDataPacket(id=1), bulk_in(1))
    cable.gadget.hear_all(3)
    cancelled = BulkPacket(id=1, endpoint=0x82, status=Status.CANCELLED)
    cable.gadget.say(cancelled, bulk_data(1, b"second"))
    assert host.hear_all(2) == [cancelled, bulk_data(1, b"second")]


def test_a_host_that_closes_is_a_host_that_left(cable: Cable) -> None:
    host = cable.plugged_host()
    host.say(bulk_in(1))
    cable.gadget.hear()
    host.sock.close()
    assert cable.answer_goodbye() == [CancelDataPacket(id=1), Reset()]
    assert "the host closed its end" in problem(cable)
    assert cable.relay.problem is None
    cable.relay.detach()


# --- the gadget leaves and comes back -------------------------------------------------------


def test_unplug_and_a_new_usbredirect(cable: Cable) -> None:
    host = cable.plugged_host()
    host.say(bulk_in(1))
    cable.gadget.hear()
    # The old usbredirect dies in mid-packet, and the rest of it arrives late.
    half = encode(bulk_data(1, bytes(4096)), Side.GADGET, ALL)
    cable.gadget.sock.sendall(half[:1000])
    cable.relay.unplug()
    assert host.hear() == DeviceDisconnect()
    assert cable.seen(Unplugged)
    with pytest.raises(DeadlineExpired):
        cable.relay.wait_plugged(Deadline.after(0.05, "a gadget that left"))
    host.say(bulk_in(2), CancelDataPacket(id=1), DeviceDisconnectAck())
    cable.gadget.sock.sendall(half[1000:2000])
    cable.gadget.restart()
    cable.gadget_starts()
    assert host.hear_all(3) == list(DESCRIPTION), "without a second hello"
    cable.relay.wait_plugged(soon())
    assert len(cable.seen(Plugged, 2)) == 2
    host.say(bulk_in(3))
    assert cable.gadget.hear() == bulk_in(3), "what was said to the old device is dropped"


def test_unplug_mends_what_the_old_usbredirect_broke(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.gadget.sock.sendall(b"\xff" * 64)
    assert "of type 4294967295" in problem_after_hello(cable)
    assert host.hear() == DeviceDisconnect()
    host.say(DeviceDisconnectAck())
    cable.relay.unplug()
    assert cable.relay.problem is None
    cable.gadget.restart()
    cable.gadget_starts()
    assert host.hear_all(3) == list(DESCRIPTION)
    cable.relay.wait_plugged(soon())


def test_a_new_hello_means_that_the_old_device_left(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.gadget.restart()
    cable.gadget_starts()
    assert host.hear_all(4) == [DeviceDisconnect(), *DESCRIPTION]


def test_a_new_usbredirect_with_other_capabilities(cable: Cable) -> None:
    cable.plugged_host()
    cable.relay.unplug()
    cable.gadget.say(Hello(version="older", words=(0x3F,)))
    assert "usbredirect" in problem_after_hello(cable)


def test_device_disconnect_is_acknowledged_without_the_host(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.gadget.say(DeviceDisconnect())
    assert cable.gadget.hear() == DeviceDisconnectAck()
    assert host.hear() == DeviceDisconnect()
    host.say(bulk_in(1), DeviceDisconnectAck())
    cable.gadget.say(*DESCRIPTION)
    assert host.hear_all(3) == list(DESCRIPTION)
    host.say(bulk_in(2))
    assert cable.gadget.hear() == bulk_in(2)


def test_the_gadgets_end_closes(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.gadget.sock.close()
    assert host.hear() == DeviceDisconnect(), "the host must see its device go"
    assert "gadget's end of the cable was closed" in problem_after_hello(cable)
    cable.relay.unplug()
    assert cable.relay.problem is not None, "there is nothing left to mend"


# --- streams that break ---------------------------------------------------------------------


def test_a_host_that_speaks_nonsense(cable: Cable) -> None:
    host = cable.plugged_host()
    host.sock.sendall(struct.pack("<IIQ", 101, 0xFFFF_FFFF, 1))
    assert "BulkPacket" in problem_after_hello(cable)


def test_a_failing_fault_is_a_problem_and_not_a_dead_thread(cable: Cable) -> None:
    def broken(packet: Packet, to: Side) -> None:
        raise ZeroDivisionError

    cable.host()
    cable.relay.forward = broken  # type: ignore[method-assign]
    cable.gadget.say(GADGET_HELLO)
    assert "ZeroDivisionError" in problem_after_hello(cable)


def test_a_cable_that_drops_everything(cable: Cable) -> None:
    cable.relay.forward = lambda packet, to: None  # type: ignore[method-assign]
    host = cable.host()
    cable.gadget_starts()
    with pytest.raises(DeadlineExpired):
        cable.relay.wait_plugged(Deadline.after(0.2, "nothing"))
    assert host.silent()
    assert cable.recorder.seen() == (), "what has not crossed is not observed"


def test_a_capture_that_cannot_be_written(cable: Cable, tmp_path: Path) -> None:
    host = Peer(Side.HOST)
    with pytest.raises(CableError, match="capture"):
        cable.relay.attach(host.far, Recorder(), tmp_path / "none" / "wire.pcap")
    cable.host()


def test_a_full_disk_is_said(cable: Cable) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    cable.host(Path("/dev/full"))
    cable.gadget.say(GADGET_HELLO)
    deadline = soon()
    while cable.relay.problem is None and not deadline.expired:
        time.sleep(0.005)
    assert "no room" in str(cable.relay.problem)


def test_close_twice_and_use_after(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.relay.close()
    cable.relay.close()
    with pytest.raises(EOFError):
        host.hear()
    with pytest.raises(CableError, match="closed"):
        cable.relay.detach()


# --- a cable that is cut --------------------------------------------------------------------


def kinds(cable: Cable) -> list[type[Observation]]:
    return [type(o) for o in cable.recorder.seen()]


def test_a_cut_cable_is_a_gadget_that_left_and_a_host_that_left(cable: Cable) -> None:
    host = cable.plugged_host()
    host.say(bulk_in(1), StartInterruptReceiving(endpoint=0x81))
    cable.gadget.hear_all(2)
    cable.relay.cut()
    assert host.hear() == DeviceDisconnect()
    assert kinds(cable)[-2:] == [CableCut, Unplugged]
    assert not cable.relay.awaiting
    goodbye = cable.answer_goodbye()
    assert goodbye == [CancelDataPacket(id=1), StopInterruptReceiving(endpoint=0x81), Reset()]
    # Neither end hears a word of the other's.
    host.say(bulk_in(2), DeviceDisconnectAck(), bulk_in(3), Reset())
    cable.gadget.say(bulk_data(1, b"late"), DESCRIPTION[0], DESCRIPTION[2])
    cable.gadget.say(InterruptPacket(endpoint=0x81, length=1, data=b"k"))
    assert cable.gadget.silent()
    assert host.silent()
    assert kinds(cable)[-2:] == [CableCut, Unplugged]
    begun = time.monotonic()
    assert "the cable is cut" in problem(cable)
    assert time.monotonic() - begun < 4, "it is said at once"
    cable.relay.mend()
    assert host.hear_all(3) == list(DESCRIPTION)
    cable.relay.wait_plugged(soon())
    assert kinds(cable)[-2:] == [CableMended, Plugged]
    host.say(bulk_in(4))
    assert cable.gadget.hear() == bulk_in(4)


def test_a_mended_cable_waits_for_the_old_answers(cable: Cable) -> None:
    host = cable.plugged_host()
    host.say(bulk_in(1))
    cable.gadget.hear()
    cable.relay.cut()
    cable.relay.mend()
    assert host.hear() == DeviceDisconnect()
    host.say(DeviceDisconnectAck())
    assert host.silent(), "the good-bye is not answered yet"
    cable.gadget.say(bulk_data(1, b"stale"))
    cable.answer_goodbye()
    assert host.hear_all(3) == list(DESCRIPTION)
    host.say(bulk_in(1))
    assert cable.gadget.hear() == bulk_in(1)
    cable.gadget.say(bulk_data(1, b"fresh"))
    assert host.hear() == bulk_data(1, b"fresh")


def test_the_next_host_finds_the_cable_cut(cable: Cable) -> None:
    cable.plugged_host()
    cable.relay.cut()
    cable.relay.detach()
    second = cable.host()
    assert second.silent()
    assert kinds(cable) == [CableCut]
    assert "the cable is cut" in problem(cable)
    cable.relay.mend()
    assert second.hear_all(4) == [GADGET_HELLO, *DESCRIPTION]
    cable.relay.wait_plugged(soon())
    assert kinds(cable) == [CableCut, CableMended, Plugged]


def test_a_gadget_that_comes_and_goes_behind_a_cut(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.relay.cut()
    assert host.hear() == DeviceDisconnect()
    host.say(DeviceDisconnectAck())
    cable.relay.unplug()
    cable.gadget.restart()
    cable.gadget_starts()
    assert host.silent()
    assert kinds(cable)[-2:] == [CableCut, Unplugged], "it left once"
    cable.gadget.say(DeviceDisconnect())
    assert cable.gadget.hear() == DeviceDisconnectAck()
    cable.relay.mend()
    assert host.silent(), "there is nothing to plug in"
    cable.gadget.say(*DESCRIPTION)
    assert host.hear_all(3) == list(DESCRIPTION)


def test_a_fault_is_made_and_mended_once(cable: Cable) -> None:
    cable.relay.mend()
    host = cable.plugged_host()
    cable.relay.mend()
    for fault in (cable.relay.mute, cable.relay.cut):
        fault()
        fault()
    assert host.hear() == DeviceDisconnect()
    cable.relay.mend()
    cable.relay.mend()
    assert host.hear_all(3) == list(DESCRIPTION)
    expected = [Plugged, CableMuted, CableCut, Unplugged, CableMended, Plugged]
    assert kinds(cable) == expected
    host.say(DeviceDisconnectAck(), bulk_in(1))
    assert cable.gadget.hear() == bulk_in(1)
    cable.gadget.say(bulk_data(1, b"heard"))
    assert host.hear() == bulk_data(1, b"heard")


def test_a_cable_cut_by_what_crosses_it(cable: Cable) -> None:
    """A fault may be called where packets cross: on the cable's own thread."""
    host = cable.plugged_host()
    pass_on = cable.relay.forward

    def cut_behind_it(packet: Packet, to: Side) -> None:
        pass_on(packet, to)
        if isinstance(packet, BulkPacket):
            cable.relay.cut()

    cable.relay.forward = cut_behind_it  # type: ignore[method-assign]
    host.say(bulk_in(1), bulk_in(2))
    assert cable.gadget.hear() == bulk_in(1)
    assert cable.answer_goodbye() == [CancelDataPacket(id=1), Reset()]
    assert host.hear() == DeviceDisconnect()
    assert kinds(cable)[-2:] == [CableCut, Unplugged]
    assert cable.gadget.silent()


# --- a gadget without a voice ---------------------------------------------------------------

GET_DEVICE = ControlPacket(
    id=5, endpoint=0x80, requesttype=0x80, request=6, value=0x100, index=0, length=4
)


def wrapper(ident: int) -> BulkPacket:
    """TEST UNIT READY for the drive of `DESCRIPTION`."""
    data = struct.pack("<4sIIBBB16s", b"USBC", 1, 0, 0, 0, 6, bytes(6))
    return BulkPacket(id=ident, endpoint=0x02, length=31, data=data)


def taken(packet: BulkPacket) -> BulkPacket:
    return BulkPacket(id=packet.id, endpoint=packet.endpoint, length=packet.length)


CANCELLED = BulkPacket(id=1, endpoint=0x82, status=Status.CANCELLED)


def test_a_mute_gadget_takes_everything_and_says_nothing(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.relay.mute()
    questions = [
        wrapper(1),
        bulk_in(2, 13),
        GET_DEVICE,
        SetConfiguration(id=6, configuration=1),
        StartInterruptReceiving(endpoint=0x81),
    ]
    host.say(*questions)
    assert cable.gadget.hear_all(5) == questions
    status = struct.pack("<4sIIB", b"USBS", 1, 0, 0)
    cable.gadget.say(
        taken(wrapper(1)),
        bulk_data(2, status),
        dataclasses.replace(GET_DEVICE, data=b"dev!"),
        ConfigurationStatus(id=6, status=0, configuration=1),
        InterruptReceivingStatus(endpoint=0x81, status=0),
        InterruptPacket(endpoint=0x81, length=1, data=b"k"),
    )
    assert host.hear() == taken(wrapper(1)), "the bytes were acknowledged"
    assert host.silent()
    seen = kinds(cable)
    assert seen[:3] == [Plugged, CableMuted, ScsiCommand]
    assert seen.count(ControlRequest) == 2
    assert ScsiReply not in seen
    assert ControlReply not in seen
    cable.relay.mend()
    assert host.silent(), "what was swallowed is lost"
    host.say(bulk_in(7))
    cable.gadget.hear()
    cable.gadget.say(bulk_data(7, b"again"))
    assert host.hear() == bulk_data(7, b"again")
    assert kinds(cable)[-1] is CableMended


def test_a_stall_is_an_answer_too(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.relay.mute()
    host.say(wrapper(1), bulk_in(2))
    cable.gadget.hear_all(2)
    cable.gadget.say(BulkPacket(id=1, endpoint=0x02, status=Status.STALL))
    cable.gadget.say(BulkPacket(id=2, endpoint=0x82, status=Status.STALL))
    assert host.silent()


def test_a_mute_gadget_leaves_no_debts(cable: Cable) -> None:
    """Swallowed answers must not make the next host's answers look stale."""
    first = cable.plugged_host()
    cable.relay.mute()
    first.say(bulk_in(1))
    cable.gadget.hear()
    cable.gadget.say(bulk_data(1, b"swallowed"))
    assert first.silent()
    assert not cable.relay.awaiting
    cable.relay.detach()
    assert cable.answer_goodbye() == [Reset()]
    second = cable.host()
    assert second.hear_all(4) == [GADGET_HELLO, *DESCRIPTION], "it is plugged in"
    assert kinds(cable) == [CableMuted, Plugged]
    second.say(bulk_in(1))
    cable.gadget.hear()
    cable.gadget.say(bulk_data(1, b"swallowed"))
    assert second.silent(), "a host that comes later hears nothing either"


@pytest.mark.parametrize("mended", [False, True], ids=["still mute", "mended"])
def test_what_a_host_gives_up_is_answered_once(cable: Cable, mended: bool) -> None:
    host = cable.plugged_host()
    cable.relay.mute()
    host.say(bulk_in(1))
    cable.gadget.hear()
    cable.gadget.say(bulk_data(1, b"swallowed"))
    assert host.silent()
    if mended:
        cable.relay.mend()
    host.say(CancelDataPacket(id=1))
    assert host.hear() == CANCELLED
    assert cable.gadget.silent(), "it has answered that"
    cable.relay.mend()
    host.say(bulk_in(1))
    assert cable.gadget.hear() == bulk_in(1)
    cable.gadget.say(bulk_data(1, b"again"))
    assert host.hear() == bulk_data(1, b"again")


def test_what_a_host_gives_up_may_be_answered_at_that_moment(cable: Cable) -> None:
    host = cable.plugged_host()
    host.say(bulk_in(1), CancelDataPacket(id=1), bulk_in(1))
    cable.gadget.hear_all(3)
    cable.relay.mute()
    cable.gadget.say(bulk_data(1, b"the first"))
    assert host.hear() == CANCELLED
    cable.gadget.say(bulk_data(1, b"the second"))
    assert host.silent()
    host.say(CancelDataPacket(id=1))
    assert host.hear() == CANCELLED


def test_a_cancelled_request_is_answered_by_the_cable(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.relay.mute()
    host.say(bulk_in(1), GET_DEVICE, CancelDataPacket(id=1), CancelDataPacket(id=5))
    cable.gadget.hear_all(4)
    refused = dataclasses.replace(GET_DEVICE, status=Status.CANCELLED, length=0)
    cable.gadget.say(CANCELLED, refused)
    assert host.hear_all(2) == [CANCELLED, refused]
    # So is one that the gadget's end gives up by itself.
    host.say(bulk_in(1))
    cable.gadget.hear()
    cable.gadget.say(CANCELLED)
    assert host.hear() == CANCELLED
    # A status that cannot be cancelled at the gadget's end is owed as well.
    host.say(SetConfiguration(id=6, configuration=1))
    cable.gadget.hear()
    cable.gadget.say(ConfigurationStatus(id=6, status=0, configuration=1))
    assert host.silent()
    host.say(CancelDataPacket(id=6))
    assert host.hear() == ConfigurationStatus(id=6, status=Status.CANCELLED, configuration=1)


def test_giving_up_what_was_answered_owes_nothing(cable: Cable) -> None:
    """QEMU may give up a transfer whose answer is on its way to it."""
    host = cable.plugged_host()
    host.say(bulk_in(1))
    cable.gadget.hear()
    cable.gadget.say(bulk_data(1, b"heard"))
    assert host.hear() == bulk_data(1, b"heard")
    host.say(CancelDataPacket(id=1), bulk_in(1))
    assert cable.gadget.hear_all(2) == [CancelDataPacket(id=1), bulk_in(1)]
    cable.relay.mute()
    cable.gadget.say(bulk_data(1, b"swallowed"))
    assert host.silent()


def test_a_mute_gadget_can_leave(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.relay.mute()
    fewer = InterfaceInfo(interfaces=(Interface(1, 8, 6, 0x50),))
    cable.gadget.say(fewer, DeviceDisconnect())
    assert host.hear_all(2) == [fewer, DeviceDisconnect()]
    assert cable.gadget.hear() == DeviceDisconnectAck()


# --- much at once ---------------------------------------------------------------------------


def test_fifty_megabytes_in_flat_memory(cable: Cable) -> None:
    host = cable.plugged_host()
    block = bytes(range(256)) * 256
    count = 50 * 1024 * 1024 // len(block)
    packet = encode(bulk_data(7, block), Side.GADGET, ALL)
    host.say(*[bulk_in(7, len(block))] * count)
    for _ in range(count):
        assert isinstance(cable.gadget.hear(), BulkPacket)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sent = 0

    def pour() -> None:
        nonlocal sent
        for _ in range(count):
            cable.gadget.sock.sendall(packet)
            sent += 1

    cable.gadget.sock.settimeout(30)
    writer = threading.Thread(target=pour, daemon=True)
    writer.start()
    # Nobody reads at first: the relay has to stop taking more.
    deadline = Deadline.after(0.2, "")
    while not deadline.expired:
        time.sleep(0.01)
    assert sent * len(packet) < 4 * BUFFER_LIMIT
    left = count * len(packet)
    begun = time.monotonic()
    while left:
        left -= len(host.sock.recv(1 << 20))
    seconds = time.monotonic() - begun
    writer.join(5)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20 * 1024, f"{grown} KiB more memory"
    assert seconds < 5, f"{50 / seconds:.0f} MB/s"


# --- a real QEMU ----------------------------------------------------------------------------


class EmptyDrive:
    """A gadget's end that plays a mass storage device without a medium."""

    DEVICE = bytes.fromhex("1201000200000040463309101005000000 01".replace(" ", ""))
    CONFIGURATION = bytes.fromhex(
        "09022000010100803209040000020806500007058102000200070501020002 00".replace(" ", "")
    )
    SENSE = bytes([0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x3A, 0, 0, 0, 0, 0])

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._reply: list[bytes | None] = []

    def description(self) -> list[Packet]:
        ends = {0: Endpoint(0, 0, 0, 64, 0), 16: Endpoint(0, 0, 0, 64, 0)}
        ends[1] = ends[17] = Endpoint(2, 0, 0, 512, 0)
        info = EpInfo(endpoints=tuple(ends.get(i, _NONE) for i in range(32)))
        return [info, InterfaceInfo(interfaces=(Interface(0, 8, 6, 0x50),)), DESCRIPTION[2]]

    def run(self) -> None:
        """Answer until the cable is closed."""
        try:
            while True:
                for answer in self._answers(self._peer.hear()):
                    self._peer.say(answer)
        except (OSError, EOFError):
            pass

    def _answers(self, packet: Packet) -> list[Packet]:
        match packet:
            case Hello():
                return self.description()
            case SetConfiguration() | GetConfiguration():
                done = ConfigurationStatus(id=packet.id, status=0, configuration=1)
                return [*self.description()[:2], done]
            case ControlPacket():
                return [self._control(packet)]
            case BulkPacket() if packet.inward:
                data = self._reply.pop(0)
                if data is None:
                    return [BulkPacket(id=packet.id, endpoint=0x81, status=Status.STALL)]
                return [BulkPacket(id=packet.id, endpoint=0x81, length=len(data), data=data)]
            case BulkPacket():
                self._command(bytes(packet.data))
                return [BulkPacket(id=packet.id, endpoint=1, length=packet.length)]
        return []

    def _control(self, packet: ControlPacket) -> ControlPacket:
        known = {(6, 1): self.DEVICE, (6, 2): self.CONFIGURATION, (0xFE, 0): b"\0"}
        data = known.get((packet.request, packet.value >> 8), b"")[: packet.length]
        # A request without data (CLEAR_FEATURE) is fine as well.
        return ControlPacket(
            id=packet.id,
            endpoint=packet.endpoint,
            requesttype=packet.requesttype,
            request=packet.request,
            value=packet.value,
            index=packet.index,
            length=len(data),
            data=data,
            status=0 if data or not packet.inward else Status.STALL,
        )

    def _command(self, wrapper: bytes) -> None:
        tag, length = struct.unpack_from("<4xII", wrapper)
        inquiry = b"\0\x80\x04\x02\x1f\0\0\0" + b"TEST    EMPTY DRIVE     0001"
        data = {0x12: inquiry, 0x03: self.SENSE}.get(wrapper[15])
        if data is not None:
            self._reply.append(data[:length])
        elif length and wrapper[12] & 0x80:
            self._reply.append(None)
        self._reply.append(struct.pack("<4sIIB", b"USBS", tag, 0, data is None))


def qmp(sock: socket.socket, command: str) -> None:
    sock.sendall(json.dumps({"execute": command}).encode() + b"\n")
    text = b""
    while b'"return"' not in text:
        text += sock.recv(4096)


@pytest.mark.rig
@pytest.mark.parametrize("controller", ["piix3-usb-uhci", "usb-ehci", "qemu-xhci"])
def test_a_real_qemu_takes_it_and_a_second_one_too(
    cable: Cable, controller: str, tmp_path: Path
) -> None:
    drive = EmptyDrive(cable.gadget)
    cable.gadget.sock.settimeout(None)
    cable.gadget.say(GADGET_HELLO)
    threading.Thread(target=drive.run, daemon=True).start()
    for turn in range(2):
        end, far = socket.socketpair()
        control, control_far = socket.socketpair()
        control.settimeout(10)
        command = f"qemu-system-x86_64 -M pc -nodefaults -display none -S -device {controller}"
        command += f" -chardev socket,id=r,fd={far.fileno()} -device usb-redir,chardev=r"
        command += f" -chardev socket,id=q,fd={control_far.fileno()} -mon chardev=q,mode=control"
        fds = (far.fileno(), control_far.fileno())
        with subprocess.Popen(command.split(), pass_fds=fds, stdin=subprocess.DEVNULL) as qemu:
            try:
                far.close()
                control_far.close()
                recorder = Recorder()
                cable.relay.attach(end, recorder, tmp_path / f"{turn}.pcap")
                cable.relay.wait_plugged(Deadline.after(10, "the gadget"))
                qmp(control, "qmp_capabilities")
                qmp(control, "cont")
                asked = recorder.wait_until(_drive_was_asked, 20)
                assert asked, recorder.seen()
            finally:
                qemu.kill()
                control.close()
        cable.relay.detach()
    assert cable.relay.problem is None
    assert os.path.getsize(tmp_path / "1.pcap") > 1000


def _drive_was_asked(seen: tuple[Observation, ...]) -> bool:
    named: Callable[[str], set[str]] = lambda status: {  # noqa: E731
        o.name for o in seen if isinstance(o, ScsiReply) and o.status == status
    }
    commands = {o.name for o in seen if isinstance(o, ScsiCommand)}
    return (
        "INQUIRY" in commands
        and "INQUIRY" in named("passed")
        and "TEST UNIT READY" in named("failed")
    )


# --- bends ----------------------------------------------------------------------------------

ASKS = ControlPacket(
    id=77, endpoint=0x80, requesttype=0x80, request=6, value=0x100, index=0, length=18
)
ANSWER = dataclasses.replace(ASKS, length=2, data=b"\x12\x01")
REPLY = Place(Part.REPLY)


def test_what_is_held_back_never_reaches_the_next_plug(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.relay.bend(Bender([bends.delay(REPLY, 0.2)]))
    host.say(ASKS)
    assert cable.gadget.hear() == ASKS
    cable.gadget.say(ANSWER)
    cable.seen(CableBent)
    cable.relay.cut()
    cable.answer_goodbye()
    cable.relay.mend()
    assert host.hear() == DeviceDisconnect()
    host.say(DeviceDisconnectAck())
    cable.seen(Plugged, 2)
    # Longer than it was held back.
    assert not cable.recorder.wait_until(
        lambda seen: any(isinstance(o, ControlReply) for o in seen), 0.3
    )


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        (SetConfiguration(id=5, configuration=1), ConfigurationStatus),
        (GetConfiguration(id=5), ConfigurationStatus),
        (SetAltSetting(id=5, interface=1, alt=0), AltSettingStatus),
        (GetAltSetting(id=5, interface=1), AltSettingStatus),
        (dataclasses.replace(ASKS, id=5), ControlPacket),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Packet) else "",
)
def test_any_request_can_be_stalled(cable: Cable, asked: Packet, refused: type[Packet]) -> None:
    host = cable.plugged_host()
    cable.relay.bend(Bender([bends.stall(Place(Part.REQUEST))]))
    host.say(asked)
    answer = host.hear()
    assert (type(answer), answer.id) == (refused, 5)
    assert getattr(answer, "status", None) == Status.STALL
    assert cable.gadget.silent()
    assert cable.relay.problem is None


def test_a_status_that_is_none_is_left_as_it_is(cable: Cable) -> None:
    host = cable.plugged_host()
    cable.relay.bend(Bender([bends.wrong_tag(Place(Part.STATUS))]))
    command = struct.pack("<4sIIBBB16s", b"USBC", 1, 0, 0, 0, 6, bytes(6))
    host.say(BulkPacket(id=1, endpoint=2, length=31, data=command))
    cable.gadget.hear()
    cable.gadget.say(BulkPacket(id=1, endpoint=2, length=31))
    host.hear()
    host.say(bulk_in(2, 13))
    cable.gadget.hear()
    cable.gadget.say(bulk_data(2, b"five5"))
    assert host.hear() == bulk_data(2, b"five5")
    assert cable.relay.problem is None


def test_the_capture_says_which_packet_was_bent(cable: Cable, tmp_path: Path) -> None:
    path = tmp_path / "usb.pcapng"
    host = cable.plugged_host(path)
    delayed = dataclasses.replace(ASKS, id=78)
    cable.relay.bend(
        Bender([bends.stall(Place(Part.REQUEST)), bends.delay(Place(Part.REPLY, number=2), 0.1)])
    )
    host.say(ASKS)
    host.hear()
    for asked in (delayed, dataclasses.replace(ASKS, id=79)):
        host.say(asked)
        cable.gadget.hear()
        cable.gadget.say(dataclasses.replace(ANSWER, id=asked.id))
    assert {host.hear().id, host.hear().id} == {78, 79}
    cable.relay.detach()
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    command += ["-e", "usb.urb_type", "-e", "frame.comment"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [line.split("|") for line in done.stdout.splitlines()]
    bent = [(kind.strip("'"), text) for kind, text in rows if text]
    stalled, late = "bent: the request of anything 1: a stall", "bent: the reply of anything 2: "
    assert bent[:2] == [("S", stalled), ("C", stalled)]
    assert [(kind, text[: len(late)]) for kind, text in bent[2:]] == [("C", late)]
