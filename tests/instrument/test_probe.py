"""The probes on a real gadget: each check is kept, and broken when the cable bends an answer."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import usb.core

from harness.cable import bends
from harness.cable.bends import Bend, Bender, Bent, Part, Place
from harness.cable.direct import Direct
from harness.cable.pyusb import Backend
from harness.cable.usbredir import BulkPacket, ControlPacket, Packet, Side
from harness.deadline import Deadline
from harness.equipment import prepare
from harness.errors import FirmwareFault, Misbehaved
from harness.firmware import Gate, open_firmware
from harness.gadget.vm import CTRL_ALT_DEL
from harness.observation import CableBent, Recorder
from harness.outcome.kinds import MEDIUM
from harness.probe.bulk_only import TEST_UNIT_READY, Drive
from harness.probe.checks import CHECKS, INQUIRY, Check, Held
from harness.probe.run import Finding, findings
from harness.probing import STATES
from harness.rig import Rig
from images.payload import write_boot_disk

pytestmark = pytest.mark.rig


class Gadgets:
    """A gadget for each state of its drive, made when it is first wanted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        firmware = open_firmware("fixed", folder / "firmware")
        self._equipment = prepare(firmware, "seabios", folder, print)
        self._rigs: dict[Held, Rig] = {}

    def rig(self, held: Held) -> Rig:
        if held not in self._rigs:
            scratch, evidence = self._folder / f"s{held.name}", self._folder / f"e{held.name}"
            scratch.mkdir(mode=0o700)
            evidence.mkdir()
            write_boot_disk(self._folder / "boot.img", MEDIUM)
            rig = self._rigs[held] = Rig(self._equipment, scratch, evidence)
            gate, extra = STATES[held]
            rig.gadget.start(gate=gate, extra=extra, media=[self._folder / "boot.img"])
            rig.gadget.hurry(True)
        return self._rigs[held]

    def close(self) -> None:
        for rig in self._rigs.values():
            rig.close()


@pytest.fixture(scope="module")
def gadgets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gadgets]:
    made = Gadgets(tmp_path_factory.mktemp("gadgets"))
    yield made
    made.close()


class Plugged:
    """A gadget whose cable ends in our hands."""

    def __init__(self, rig: Rig, given: tuple[Bend, ...] = ()) -> None:
        assert rig.gadget.relay is not None
        self.relay = rig.gadget.relay
        self.bender = Bender(given)
        self.relay.bend(self.bender)
        self.recorder = Recorder()
        self.direct = Direct(self.relay, self.recorder)
        self.direct.wait_device(Deadline.after(10, "the gadget"))
        self.device: Any = usb.core.find(backend=Backend(self.direct))

    def drive(self, *, read_only: bool = False, seconds: float = 5.0) -> Drive:
        self.device.set_configuration()
        return Drive(self.device, read_only=read_only, seconds=seconds)

    def close(self) -> None:
        self.direct.close()
        self.relay.bend(None)


@contextmanager
def plugged(rig: Rig, *given: Bend) -> Iterator[Plugged]:
    with closing(Plugged(rig, given)) as made:
        yield made


# --- what each check is broken by -------------------------------------------------------------

TUR, SENSE, READ, WRITE, CAPACITY = (
    "TEST UNIT READY",
    "REQUEST SENSE",
    "READ(10)",
    "WRITE(10)",
    "READ CAPACITY(10)",
)


def status_of(name: str, number: int = 1) -> Place:
    return Place(Part.STATUS, name, number)


def data_of(name: str, number: int = 1) -> Place:
    return Place(Part.DATA, name, number)


def answered(place: Place, data: bytes) -> Bend:
    """A refusal becomes an answer."""

    def make(packet: Packet, random: Random) -> Bent:
        assert isinstance(packet, BulkPacket | ControlPacket)
        fields: dict[str, Any] = {"status": 0, "length": len(data), "data": data, "raw": b""}
        return Bent((dataclasses.replace(packet, **fields),))

    return Bend(place, "an answer", make)


def patched(*patches: tuple[int, bytes]) -> Bend:
    """The whole configuration descriptor, which pyusb asks for second, is another."""

    def make(packet: Packet, random: Random) -> Bent:
        assert isinstance(packet, ControlPacket)
        data = bytearray(packet.data)
        for at, new in patches:
            data[at : at + len(new)] = new
        return Bent((dataclasses.replace(packet, data=bytes(data), raw=b""),))

    return Bend(Place(Part.REPLY, "GET_DESCRIPTOR(CONFIGURATION)", 2), "patched", make)


# In the configuration descriptor: 9 bytes, then 9 + 9 + 7 + 7 for each of three HID interfaces,
# then 9 + 7 + 7.
FIRST, SECOND, THIRD, DRIVE = 9, 41, 73, 105
TWO_DRIVES = patched(
    (THIRD + 5, b"\x08\x06\x50"),
    (THIRD + 18 + 3, b"\x02\x00\x02"),
    (THIRD + 25 + 3, b"\x02\x00\x02"),
)

# Before the check itself, `findings` asks TEST UNIT READY once, and of an empty drive REQUEST
# SENSE: what is asked in the check has the next number.
BROKEN_BY: dict[str, Bend] = {
    "bulk_endpoints": patched((DRIVE + 9 + 4, b"\x40\x00")),
    "boot_interfaces": patched((FIRST + 6, b"\x01\x03")),
    "endpoints_apart": patched((SECOND + 18 + 2, b"\x81")),
    "serial_number": bends.replace(
        Place(Part.REPLY, "GET_DESCRIPTOR(STRING)", 2), 2, "g".encode("utf-16-le")
    ),
    "max_lun": bends.replace(Place(Part.REPLY, "GET_MAX_LUN"), 0, b"\x10"),
    "max_lun_of_another": answered(Place(Part.REPLY, "GET_MAX_LUN"), b"\0"),
    "class_reset": bends.stall(Place(Part.REPLY, "BULK_ONLY_RESET")),
    "absent_lun": bends.replace(data_of("INQUIRY"), 0, b"\0"),
    "case_1": bends.wrong_status(status_of(TUR, 2), 2),
    "case_2": bends.wrong_status(status_of("INQUIRY"), 0),
    "case_3": bends.wrong_status(status_of(WRITE), 0),
    "case_4": bends.wrong_residue(status_of(TUR, 2), 0),
    "case_5": bends.wrong_residue(status_of("INQUIRY"), 0),
    "case_6": bends.wrong_residue(status_of("INQUIRY"), 36),
    "case_7": bends.wrong_status(status_of("INQUIRY"), 0),
    "case_8": bends.wrong_status(status_of(WRITE), 0),
    "case_9": bends.wrong_residue(status_of(TUR, 2), 0),
    "case_10": bends.wrong_status(status_of("INQUIRY"), 0),
    "case_11": bends.wrong_residue(status_of(WRITE), 0),
    "case_12": bends.wrong_residue(status_of(WRITE), 512),
    "case_13": bends.wrong_status(status_of(WRITE), 0),
    "inquiry": bends.replace(data_of("INQUIRY"), 1, b"\0"),
    "inquiry_page": bends.wrong_status(status_of("INQUIRY"), 0),
    "unit_attention": bends.replace(data_of(SENSE, 3), 2, b"\x06"),
    "no_sense": bends.replace(data_of(SENSE, 2), 2, b"\x05"),
    "operation_code": bends.replace(data_of(SENSE, 2), 12, b"\x24"),
    "empty_test_unit_ready": bends.wrong_status(status_of(TUR, 2), 0),
    "empty_read_capacity": answered(data_of(CAPACITY), bytes(8)),
    "empty_read": answered(data_of(READ), bytes(512)),
    "empty_write": bends.wrong_status(status_of(WRITE), 0),
    "ready": bends.wrong_status(status_of(TUR, 2), 1),
    "capacity": bends.replace(data_of(CAPACITY), 4, b"\0\0\x08\0"),
    "last_block": bends.wrong_status(status_of(READ), 1),
    "beyond_the_end": bends.wrong_status(status_of(READ), 0),
    "no_block": bends.wrong_status(status_of(READ), 1),
    "written": bends.replace(data_of(READ, 2), 100, b"wrong"),
    "mode_sense": bends.replace(data_of("MODE SENSE(6)"), 2, b"\x80"),
    "write_protected": bends.wrong_status(status_of(WRITE), 0),
    "held_medium": bends.wrong_status(status_of("START STOP UNIT"), 0),
}
IN_THE_DESCRIPTORS = ("boot_interfaces", "bulk_endpoints", "endpoints_apart", "serial_number")
"""pyusb asks for them once."""
BY_OTHER_MEANS = ("one_drive", "cbw_signature", "cbw_length", "across_the_end")
"""A test of their own, or broken by the kernel already."""


def test_every_check_is_broken_by_something() -> None:
    assert {check.name for check in CHECKS} == {*BROKEN_BY, *BY_OTHER_MEANS}


def asked(drive: Drive, held: Held, check: Check) -> Finding:
    (found,) = findings(drive, held, [check])
    return found


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_can_be_broken_and_is_kept(gadgets: Gadgets, check: Check) -> None:
    held = Held.MEDIUM if check.name in ("one_drive", "held_medium") else check.held[0]
    kept = "kernel" if check.kernel else "kept"
    bend = BROKEN_BY.get(check.name)
    early = [bend] if bend and check.name in IN_THE_DESCRIPTORS else []
    with plugged(gadgets.rig(held), *early) as wire:
        drive = wire.drive()
        drive.settle()
        if bend:
            if not early:
                wire.bender.add(bend)
            found = asked(drive, held, check)
            assert wire.bender.left == (), "the bend's place did not come"
            assert len([o for o in wire.recorder.seen() if isinstance(o, CableBent)]) == 1
            assert found.result == "broken", found
            assert found.why
        if not early:
            assert asked(drive, held, check).result == kept


def test_two_drives_are_one_too_many(gadgets: Gadgets) -> None:
    (check,) = (c for c in CHECKS if c.name == "one_drive")
    with (
        plugged(gadgets.rig(Held.NOTHING), TWO_DRIVES) as wire,
        pytest.raises(Misbehaved, match="2 interfaces are drives"),
    ):
        check.ask(wire.drive())


@pytest.mark.parametrize("name", ["cbw_signature", "cbw_length"])
def test_a_wrong_wrapper_that_is_taken(gadgets: Gadgets, name: str) -> None:
    """On its way to the drive it becomes a right one."""
    (check,) = (c for c in CHECKS if c.name == name)
    with plugged(gadgets.rig(Held.NOTHING)) as wire:
        drive = wire.drive()
        right = drive.wrapper(1, 36, True, INQUIRY, 0)
        wrong = (b"USBX" + right[4:], right[:30])
        pass_on = wire.relay.forward

        def forward(packet: Packet, to: Side) -> None:
            if isinstance(packet, BulkPacket) and bytes(packet.data) in wrong:
                packet = dataclasses.replace(packet, data=right, length=31, raw=b"")
            pass_on(packet, to)

        wire.relay.forward = forward  # type: ignore[method-assign]
        (found,) = findings(drive, Held.NOTHING, [check])
        wire.relay.forward = pass_on  # type: ignore[method-assign]
        assert found.result == "broken"
        assert "was answered, not refused" in found.why


# --- transport, and what pyusb's users see ----------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (bends.wrong_tag, "its CSW has tag"),
        (bends.wrong_signature, "its status is no CSW"),
        (lambda place: bends.truncate(place, 12), "its status is no CSW"),
        (lambda place: bends.wrong_status(place, 3), "its CSW has status 3"),
        (lambda place: bends.wrong_residue(place, 37), "leaves 37 of 36 bytes over"),
    ],
    ids=["tag", "signature", "12 bytes", "status", "residue"],
)
def test_a_status_that_is_none(gadgets: Gadgets, make: Callable[[Place], Bend], words: str) -> None:
    with plugged(gadgets.rig(Held.NOTHING)) as wire:
        drive = wire.drive()
        wire.bender.add(make(status_of("INQUIRY")))
        with pytest.raises(Misbehaved, match=words):
            drive.ask(INQUIRY, 36)
        drive.recover()
        assert drive.ask(INQUIRY, 36).status == 0


def test_the_same_seed_makes_up_the_same(gadgets: Gadgets) -> None:
    said = []
    for seed in (1, 1, 2):
        with plugged(gadgets.rig(Held.NOTHING)) as wire:
            drive = wire.drive()
            wire.bender._random.seed(seed)
            wire.bender.add(bends.wrong_tag(status_of("INQUIRY")))
            with pytest.raises(Misbehaved) as caught:
                drive.ask(INQUIRY, 36)
            said.append(str(caught.value))
            drive.recover()
    assert said[0] == said[1] != said[2]


def test_a_drive_that_is_late(gadgets: Gadgets) -> None:
    with plugged(gadgets.rig(Held.NOTHING)) as wire:
        drive = wire.drive()
        wire.bender.add(bends.delay(status_of("INQUIRY"), 0.3))
        assert drive.ask(INQUIRY, 36).seconds > 0.3
        drive = wire.drive(seconds=0.2)
        wire.bender.add(bends.delay(data_of("INQUIRY"), 1.0))
        with pytest.raises(usb.core.USBTimeoutError):
            drive.ask(INQUIRY, 36)


def test_a_drive_that_falls_silent_and_one_that_leaves(gadgets: Gadgets) -> None:
    with plugged(gadgets.rig(Held.NOTHING)) as wire:
        drive = wire.drive(seconds=0.3)
        wire.relay.mute()
        with pytest.raises(usb.core.USBTimeoutError):
            drive.ask(TEST_UNIT_READY)
        wire.relay.mend()
        drive.recover()
        drive.settle()
        wire.relay.cut()
        with pytest.raises(usb.core.USBError) as caught:
            drive.ask(TEST_UNIT_READY)
        assert caught.value.errno == errno.ENODEV
        assert list(usb.core.find(find_all=True, backend=Backend(wire.direct))) == []
        wire.relay.mend()
        wire.direct.wait_device(Deadline.after(5, "the gadget"))


def test_a_command_that_is_taken_twice(gadgets: Gadgets) -> None:
    """The drive answers the second one, too: to the host that is a status with an old tag."""
    with plugged(gadgets.rig(Held.NOTHING)) as wire:
        drive = wire.drive(seconds=0.5)
        wire.bender.add(bends.duplicate(Place(Part.COMMAND, "INQUIRY")))
        drive.ask(INQUIRY, 36)
        with pytest.raises((Misbehaved, usb.core.USBError)):
            drive.ask(TEST_UNIT_READY)
        drive.recover()
        drive.settle()


def test_a_stall_in_place_of_each_answer(gadgets: Gadgets) -> None:
    with plugged(gadgets.rig(Held.NOTHING)) as wire:
        drive = wire.drive()
        for part in (Part.COMMAND, Part.DATA, Part.STATUS):
            wire.bender.add(bends.stall(Place(part, "INQUIRY")))
            if part is Part.COMMAND:
                with pytest.raises(usb.core.USBError) as caught:
                    drive.ask(INQUIRY, 36)
                assert caught.value.errno == errno.EPIPE
            elif part is Part.DATA:
                reply = drive.ask(INQUIRY, 36)
                assert (reply.stalled, reply.data) == (True, b"")
            else:
                with pytest.raises(usb.core.USBError):  # the status itself is lost
                    Drive(wire.device, seconds=0.3).ask(INQUIRY, 36)
            drive.recover()
            drive.settle()


def test_a_key_comes_through(gadgets: Gadgets) -> None:
    """An empty packet follows each report that fills one (f_hid.c, f_hidg_write, req->zero)."""
    rig = gadgets.rig(Held.NOTHING)
    with plugged(rig) as wire:
        wire.device.set_configuration()
        with pytest.raises(usb.core.USBTimeoutError):
            wire.device.read(0x81, 8, 50)
        assert rig.gadget.press(CTRL_ALT_DEL)
        rig.gadget.hurry(True)
        came = [bytes(wire.device.read(0x81, 8, 1000)) for _ in range(4)]
        assert came == [bytes((5, 0, 0x4C, 0, 0, 0, 0, 0)), b"", bytes(8), b""]


def test_a_gadget_without_a_drive(gadgets: Gadgets, tmp_path: Path) -> None:
    scratch, evidence = tmp_path / "scratch", tmp_path / "evidence"
    scratch.mkdir(mode=0o700)
    evidence.mkdir()
    with closing(Rig(gadgets._equipment, scratch, evidence)) as rig:
        rig.gadget.start(gate=Gate.ABSENT)
        with pytest.raises(FirmwareFault, match="has no drive"), rig.gadget.drive():
            pass
