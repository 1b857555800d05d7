"""A host without a PC: it asks the gadget one thing after the other, and waits for each answer.

It speaks usbredir as QEMU's usb-redir device does, at a host's end of the relay: what it says is
tapped, recorded and bent like the words of any other host.
"""

from __future__ import annotations

import socket
from collections import defaultdict, deque
from pathlib import Path
from typing import TypeVar

from harness.cable.conversation import status_word
from harness.cable.relay import HOST_CAPS, Relay
from harness.cable.usbredir import (
    AltSettingStatus,
    BulkPacket,
    CancelDataPacket,
    Caps,
    ConfigurationStatus,
    ControlPacket,
    DeviceConnect,
    DeviceDisconnect,
    DeviceDisconnectAck,
    GetConfiguration,
    Hello,
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
from harness.errors import CableError, DeviceLeft, RigFault, TransferFailed
from harness.observation import Recorder

CANCEL_SECONDS = 5.0
"""How long the gadget's end may take to give up a transfer; it takes milliseconds."""

_VERSION = "bootgate direct host"
_READ_SIZE = 256 * 1024
_Answer = TypeVar("_Answer", bound=Packet)


class Direct:
    """Plugged into a relay from the beginning. `close` it.

    Every method that waits raises DeadlineExpired when no answer came within its deadline,
    TransferFailed when the device refused (a stall among others), DeviceLeft when it is not
    there, and CableError when the cable is broken. Endpoints are USB addresses: bit 7 set for IN.
    """

    def __init__(self, relay: Relay, recorder: Recorder, capture: Path | None = None) -> None:
        """Plug it in. Raises CableError when another host is plugged in."""
        self._relay = relay
        self._sock, theirs = socket.socketpair()
        self._parser = Parser(Side.GADGET)
        self._caps = Caps(host=HOST_CAPS)
        self._answers: deque[Packet] = deque()
        self._reports: defaultdict[int, deque[InterruptPacket]] = defaultdict(deque)
        self._last_id = 0
        self.device: DeviceConnect | None = None
        """The device that is plugged in, None while there is none."""
        try:
            relay.attach(theirs, recorder, capture)
        except BaseException:
            theirs.close()
            self._sock.close()
            raise
        self._send(Hello(version=_VERSION, words=(HOST_CAPS.value,)))

    def wait_device(self, deadline: Deadline) -> DeviceConnect:
        """Wait until a device is plugged in."""
        while self.device is None:
            self._receive(deadline)
        return self.device

    # --- control transfers ------------------------------------------------------------------

    def control_in(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        length: int,
        deadline: Deadline,
    ) -> bytes:
        """A control transfer that reads up to `length` bytes (USB 2.0, 9.3)."""
        packet = ControlPacket(
            id=self._next_id(),
            endpoint=0x80,
            requesttype=request_type,
            request=request,
            value=value,
            index=index,
            length=length,
        )
        return bytes(self._transfer(packet, ControlPacket, deadline).data)

    def control_out(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data: bytes,
        deadline: Deadline,
    ) -> int:
        """A control transfer that sends `data`; how many bytes the device took."""
        packet = ControlPacket(
            id=self._next_id(),
            endpoint=0,
            requesttype=request_type,
            request=request,
            value=value,
            index=index,
            length=len(data),
            data=data,
        )
        return self._transfer(packet, ControlPacket, deadline).length

    def set_configuration(self, configuration: int, deadline: Deadline) -> None:
        """SET_CONFIGURATION, which the gadget's end carries out itself."""
        packet = SetConfiguration(id=self._next_id(), configuration=configuration)
        self._transfer(packet, ConfigurationStatus, deadline)

    def configuration(self, deadline: Deadline) -> int:
        """GET_CONFIGURATION: its bConfigurationValue, 0 when none is set."""
        packet = GetConfiguration(id=self._next_id())
        return self._transfer(packet, ConfigurationStatus, deadline).configuration

    def set_interface(self, interface: int, alt: int, deadline: Deadline) -> None:
        """SET_INTERFACE, likewise."""
        packet = SetAltSetting(id=self._next_id(), interface=interface, alt=alt)
        self._transfer(packet, AltSettingStatus, deadline)

    def reset(self) -> None:
        """Reset the device. The protocol has no answer to that; the next request waits for it."""
        self._send(Reset())

    # --- other transfers --------------------------------------------------------------------

    def bulk_out(self, endpoint: int, data: bytes, deadline: Deadline) -> int:
        """Send `data`; how many bytes the device took."""
        packet = BulkPacket(id=self._next_id(), endpoint=endpoint, length=len(data), data=data)
        return self._transfer(packet, BulkPacket, deadline).length

    def bulk_in(self, endpoint: int, length: int, deadline: Deadline) -> bytes:
        """Read up to `length` bytes, up to the first short packet (USB 2.0, 5.8.3)."""
        packet = BulkPacket(id=self._next_id(), endpoint=endpoint, length=length)
        return bytes(self._transfer(packet, BulkPacket, deadline).data)

    def interrupt_out(self, endpoint: int, data: bytes, deadline: Deadline) -> int:
        """Send `data`; how many bytes the device took."""
        packet = InterruptPacket(id=self._next_id(), endpoint=endpoint, length=len(data), data=data)
        return self._transfer(packet, InterruptPacket, deadline).length

    def poll(self, endpoint: int, deadline: Deadline) -> None:
        """Have the gadget's end poll an interrupt IN endpoint from now on."""
        packet = StartInterruptReceiving(id=self._next_id(), endpoint=endpoint)
        self._transfer(packet, InterruptReceivingStatus, deadline)

    def stop_polling(self, endpoint: int, deadline: Deadline) -> None:
        """Have it stop, and forget what has come and was not asked for."""
        packet = StopInterruptReceiving(id=self._next_id(), endpoint=endpoint)
        self._transfer(packet, InterruptReceivingStatus, deadline)
        self._reports.pop(endpoint, None)

    def interrupt_in(self, endpoint: int, deadline: Deadline) -> bytes:
        """The next report of an endpoint that is polled."""
        while not self._reports[endpoint]:
            self._receive(deadline)
        return bytes(self._checked(self._reports[endpoint].popleft(), "a report").data)

    # --- below ------------------------------------------------------------------------------

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _transfer(self, asked: Packet, kind: type[_Answer], deadline: Deadline) -> _Answer:
        """Ask, wait for the answer, and give up the request when its time is over."""
        if self.device is None:
            raise self._left("there is no device on the cable")
        self._send(asked)
        answer = self._answer(asked, kind, deadline)
        if answer is None:
            # It has an answer all the same, once (usb-redirection-protocol.md), whatever that
            # says: a host that gave up does not look at it.
            self._send(CancelDataPacket(id=asked.id))
            grace = Deadline.after(CANCEL_SECONDS, "the gadget's end to give a transfer up")
            if self._answer(asked, kind, grace) is None:
                raise CableError(f"{grace.failure()}; look at the gadget's log")
            raise deadline.failure()
        return self._checked(answer, _words(asked))

    def _answer(self, asked: Packet, kind: type[_Answer], deadline: Deadline) -> _Answer | None:
        """The answer to a request, None when it did not come in time."""
        while True:
            for answer in self._answers:
                if isinstance(answer, kind) and answer.id == asked.id:
                    self._answers.remove(answer)
                    return answer
            if deadline.expired:
                return None
            self._receive(deadline, patient=True)
            if self.device is None:
                words = _words(asked)
                raise self._left(f"the device left the cable and did not answer {words}")

    def _left(self, why: str) -> RigFault:
        """What to raise without a device: a cable that breaks takes it away, too."""
        return self._relay.problem or DeviceLeft(why)

    def _checked(self, answer: _Answer, what: str) -> _Answer:
        status = getattr(answer, "status", Status.SUCCESS)
        if status != Status.SUCCESS:
            raise TransferFailed(what, status_word(status))
        return answer

    def _send(self, packet: Packet) -> None:
        self._sock.settimeout(None)
        try:
            self._sock.sendall(encode(packet, Side.HOST, self._caps))
        except OSError as error:
            raise CableError(f"the cable was closed: {error.strerror}") from error

    def _receive(self, deadline: Deadline, *, patient: bool = False) -> None:
        """Take in what has come, or wait for something; `patient`: without a word if nothing."""
        if self._relay.problem is not None:
            raise self._relay.problem
        self._sock.settimeout(max(0.001, min(0.2, deadline.remaining())))
        try:
            data = self._sock.recv(_READ_SIZE)
        except TimeoutError:
            if not patient:
                deadline.check()
            return
        except OSError as error:
            raise CableError(f"the cable was closed: {error.strerror}") from error
        if not data:
            raise CableError("the cable was closed")
        for packet in self._parser.feed(data):
            self._take(packet)

    def _take(self, packet: Packet) -> None:
        match packet:
            case Hello():
                self._caps = Caps(HOST_CAPS, packet.caps)
                self._parser.caps = self._caps
            case DeviceConnect():
                self.device = packet
            case DeviceDisconnect():
                self.device = None
                self._answers.clear()
                self._reports.clear()
                self._send(DeviceDisconnectAck())
            case InterruptPacket() if packet.inward:
                self._reports[packet.endpoint].append(packet)
            case _:
                self._answers.append(packet)

    def close(self) -> None:
        """Pull it out; the gadget finds its device reset. May be called twice."""
        self._sock.close()
        self._relay.detach()


def _words(asked: Packet) -> str:
    match asked:
        case ControlPacket():
            setup = (asked.requesttype, asked.request, asked.value, asked.index, asked.length)
            return "control transfer {:02X} {:02X} {:04X} {:04X} {:04X}".format(*setup)
        case BulkPacket() | InterruptPacket():
            direction = "from" if asked.inward else "for"
            return f"{asked.length} bytes {direction} endpoint {asked.endpoint:02X}"
    return type(asked).__name__
