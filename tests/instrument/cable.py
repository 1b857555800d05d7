"""A rig by itself, and what befalls its cable while the host reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from harness.cable.relay import Relay
from harness.cable.scsi import parse_cbw, read_blocks
from harness.cable.usbredir import BulkPacket, Packet, Side
from harness.equipment import prepare
from harness.firmware import open_firmware
from harness.rig import Rig

CBW_BYTES = 31
"""A command block wrapper (USB MSC BOT 1.0, 5.1)."""


@contextmanager
def fixed_rig(folder: Path) -> Iterator[Rig]:
    """A rig with the firmware that keeps its promises; its files are in `folder`."""
    scratch, evidence = folder / "scratch", folder / "evidence"
    scratch.mkdir(mode=0o700)
    evidence.mkdir()
    firmware = open_firmware("fixed", folder / "firmware")
    with closing(Rig(prepare(firmware, "seabios", folder, print), scratch, evidence)) as rig:
        yield rig


def fault_at_read(rig: Rig, fault: str, number: int = 1) -> None:
    """Cut or mute the cable right behind the `number`-th command with which the host reads.

    `fault` is the name of the relay's method. The gadget has been started, the host not yet.
    """
    relay = rig.gadget.relay
    assert isinstance(relay, Relay)
    pass_on = relay.forward
    left = number

    def forward(packet: Packet, to: Side) -> None:
        nonlocal left
        pass_on(packet, to)
        if isinstance(packet, BulkPacket) and to is Side.GADGET and packet.length == CBW_BYTES:
            command = parse_cbw(bytes(packet.data))
            if command and read_blocks(command.cdb):
                left -= 1
                if left == 0:
                    relay.forward = pass_on  # type: ignore[method-assign]
                    getattr(relay, fault)()

    relay.forward = forward  # type: ignore[method-assign]
