"""Faults of the cable, as far as they take more than not passing a packet on."""

from __future__ import annotations

import dataclasses
from typing import TypeGuard

from harness.cable.usbredir import (
    AltSettingStatus,
    BulkPacket,
    ConfigurationStatus,
    ControlPacket,
    InterruptPacket,
    Packet,
    Status,
)

Answer = ControlPacket | BulkPacket | InterruptPacket | ConfigurationStatus | AltSettingStatus
"""What answers one request, by its id. An `InterruptPacket` does so for OUT endpoints only."""


def answers(packet: Packet) -> TypeGuard[Answer]:
    """Whether a packet of the gadget's end answers the request with its id."""
    if isinstance(packet, InterruptPacket):
        return not packet.inward
    return isinstance(packet, Answer)


class Silence:
    """What still crosses a muted cable on its way to the host, and what is owed for the rest.

    The device takes what it is sent: bytes for an OUT endpoint are acknowledged. All that it
    says itself is swallowed: data, stalls, the ends of control transfers.

    The ends of the cable have their own bookkeeping, which must not suffer: each request is
    answered once, one that the host gives up too. QEMU remembers the id of such a request
    until then, and takes the next answer with that id for the missing one
    (hw/usb/redirect.c, usbredir_cancel_packet and usbredir_is_cancelled); ids come round. So
    when a host gives up a request whose answer was swallowed, it is told in the answer's place
    that the request was cancelled: the device has no part in that.
    """

    def __init__(self) -> None:
        """Nothing has been swallowed."""
        self._swallowed: dict[int, Answer] = {}

    def swallow(self, packet: Packet, given_up: bool) -> Packet | None:
        """What crosses in place of `packet`, which comes from the gadget's end; often nothing.

        `given_up`: the host gave up the request that it answers.
        """
        if not answers(packet):
            return None
        if given_up or packet.status == Status.CANCELLED:
            return _cancelled(packet)
        if _taken(packet):
            return packet
        self._swallowed[packet.id] = packet
        return None

    def give_up(self, ident: int) -> Packet | None:
        """The answer to a request that the host gives up, if its own was swallowed."""
        packet = self._swallowed.pop(ident, None)
        return None if packet is None else _cancelled(packet)


def _taken(packet: Answer) -> bool:
    """Whether it says no more than that the device took what it was sent."""
    outward = isinstance(packet, BulkPacket | InterruptPacket) and not packet.inward
    return outward and packet.status == Status.SUCCESS


def _cancelled(packet: Answer) -> Packet:
    if isinstance(packet, ConfigurationStatus | AltSettingStatus):
        return dataclasses.replace(packet, status=Status.CANCELLED, raw=b"")
    return dataclasses.replace(packet, status=Status.CANCELLED, length=0, data=b"", raw=b"")
