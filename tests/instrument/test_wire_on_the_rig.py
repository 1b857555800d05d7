"""The whole rig: a cable that is cut or a gadget that falls silent, and the gadget's keyboard."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cable import fault_at_read, fixed_rig
from oracle import Oracle, agrees, as_heard

from harness.cable import bends
from harness.cable.bends import Bend, Part, Place
from harness.cable.conversation import transcript
from harness.cable.usbredir import Hello, Packet, Side, encode
from harness.deadline import Deadline
from harness.errors import FirmwareFault
from harness.firmware import Gate, Shape
from harness.firmware.nanokvm import DATA_PARTITION
from harness.gadget.vm import CTRL_ALT_DEL
from harness.host.pc import CONTROLLERS
from harness.observation import (
    BiosLine,
    CableBent,
    CableCut,
    CableMended,
    CableMuted,
    ControlReply,
    CpuSample,
    Disturbed,
    HostEvent,
    Observation,
    Plugged,
    ScsiCommand,
    ScsiReply,
    Unplugged,
)
from harness.outcome.kinds import MEDIUM, NEXT_DEVICE, Booted, Hung, NoBootDevice, Outcome
from harness.outcome.moments import Deed, Disturbance, Mark, Marks
from harness.outcome.rules import GAVE_UP, MARK
from harness.outcome.wire import keyboard_driven, sector_of
from harness.rig import Rig
from images.payload import marker_sector, write_boot_disk

pytestmark = pytest.mark.rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A rig with the firmware that keeps its promises."""
    with fixed_rig(tmp_path) as made:
        yield made


@pytest.fixture
def reading(rig: Rig, tmp_path: Path) -> Rig:
    """A rig whose drive holds a medium that boots."""
    write_boot_disk(tmp_path / "boot.img", MEDIUM)
    rig.gadget.start(gate=Gate.path("/data/boot.img"), media=[tmp_path / "boot.img"])
    return rig


def after(stream: tuple[Observation, ...], kind: type[Observation]) -> list[Observation]:
    """What was seen from the only observation of that kind on."""
    (place,) = (i for i, o in enumerate(stream) if isinstance(o, kind))
    return list(stream[place:])


def assert_given_up_after_its_patience(stream: list[Observation]) -> None:
    """SeaBIOS waits 5 s for a transfer (src/hw/usb.h, USB_TIME_COMMAND), then it goes on."""
    said = [(o.text, o.at - stream[0].at) for o in stream if isinstance(o, BiosLine)]
    words = [text for text, _ in said]
    failed = words.index("USB transmission failed")
    assert said[failed][1] > 4.5, said
    assert words[failed + 1] == "Boot failed: could not read the boot disk"
    assert GAVE_UP in words[failed + 1 :]


def assert_boots_when_mended(rig: Rig) -> None:
    """The next boot after the cable was mended is that of a rig on which nothing happened."""
    assert rig.gadget.relay is not None
    assert rig.host._pc is not None
    rig.gadget.relay.mend()
    rig.gadget.hurry(True)
    rig.host._pc._qemu.execute("system_reset")
    assert rig.recorder.wait_until(
        lambda seen: any(isinstance(o, BiosLine) and o.text == MARK + MEDIUM for o in seen), 30
    ), transcript(rig.recorder.seen())


def test_a_host_whose_cable_is_cut_while_it_reads(reading: Rig) -> None:
    fault_at_read(reading, "cut")
    boot = reading.host.boot("ehci", must_ask_drive=False)
    assert boot.outcome == NoBootDevice(), boot.explain()
    seen = after(boot.stream, CableCut)
    assert isinstance(seen[1], Unplugged)
    assert not any(isinstance(o, ScsiCommand | ScsiReply | ControlReply) for o in seen)
    assert_given_up_after_its_patience(seen)
    assert_boots_when_mended(reading)


def test_a_host_whose_drive_falls_silent_while_it_reads(reading: Rig) -> None:
    fault_at_read(reading, "mute")
    boot = reading.host.boot("ehci", must_ask_drive=False)
    assert boot.outcome == NoBootDevice(), boot.explain()
    seen = after(boot.stream, CableMuted)
    assert not any(isinstance(o, ScsiReply | Unplugged) for o in seen)
    assert_given_up_after_its_patience(seen)
    assert_boots_when_mended(reading)


@pytest.mark.parametrize(
    "mark", [Mark("line", "Found QEMU fw_cfg", 1), Mark("command", "TEST UNIT READY", 2)], ids=str
)
def test_a_host_stands_right_behind_its_mark(reading: Rig, mark: Mark) -> None:
    """It says and asks nothing more until the gadget, which takes a second, is back."""
    disturb = Disturbance(mark, Deed.QUICK_REBIND)
    boot = reading.host.boot("ehci", must_ask_drive=False, disturb=disturb)
    marks = Marks()
    (place,) = (i for i, seen in enumerate(boot.stream) if marks.see(seen) == mark)
    behind = boot.stream[place + 1 :]
    back = next(i for i, seen in enumerate(behind) if isinstance(seen, Plugged))
    # What it has asked may be answered before the gadget leaves, and its processor looked at.
    said = [type(seen) for seen in behind[:back] if not isinstance(seen, ScsiReply | CpuSample)]
    assert said == [Disturbed, Unplugged]
    assert behind[back].at - behind[0].at > 0.2
    assert isinstance(boot.outcome, Booted), boot.explain()


def test_a_host_that_stood_still_sees_what_came_back(reading: Rig) -> None:
    """Also right before it looks at its ports: QEMU hides the gadget for a while yet."""
    marks = reading.host.rehearse("ehci").marks
    (mark,) = (mark for mark in marks if mark.name.startswith("EHCI init on dev"))
    boot = reading.host.boot("ehci", disturb=Disturbance(mark, Deed.QUICK_REBIND))
    assert boot.outcome == Booted(MEDIUM), boot.explain()


@pytest.mark.parametrize("deed", [Deed.REPLUG, Deed.SILENCE, Deed.MUTE], ids=lambda d: d.name)
def test_a_drive_that_is_lost_while_it_is_asked(reading: Rig, deed: Deed) -> None:
    """SeaBIOS waits 5 s for the answer, gives up on the drive, and boots the next device."""
    disturb = Disturbance(Mark("command", "READ CAPACITY(10)", 1), deed)
    boot = reading.host.boot("ehci", must_ask_drive=False, disturb=disturb)
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()
    kinds = [type(seen) for seen in boot.stream]
    assert (Unplugged in kinds) == (deed is Deed.REPLUG)
    assert (CableMended in kinds) == (deed is not Deed.MUTE)
    (done,) = (seen.at for seen in boot.stream if isinstance(seen, Disturbed))
    assert isinstance(boot.outcome, Booted)
    assert boot.outcome.seconds - done > 4.5


READ_0 = Place(Part.STATUS, "READ(10)", lba=0)


@pytest.mark.parametrize(
    ("bend", "outcome"),
    [
        (bends.delay(READ_0, 2.0), Booted(MEDIUM)),
        (bends.wrong_status(READ_0, 1), NoBootDevice()),
        # SeaBIOS looks at nothing in a CSW but its status (src/hw/usb-msc.c, usb_process_op).
        (bends.wrong_tag(READ_0), Booted(MEDIUM)),
        (bends.stall(Place(Part.DATA, "INQUIRY")), Booted(NEXT_DEVICE)),
        (bends.stall(Place(Part.REPLY, "GET_DESCRIPTOR(DEVICE)")), Booted(NEXT_DEVICE)),
    ],
    ids=lambda value: str(value).replace(" ", "_") if isinstance(value, Bend) else "",
)
def test_what_a_host_makes_of_a_bent_cable(reading: Rig, bend: Bend, outcome: Outcome) -> None:
    boot = reading.host.boot("ehci", must_ask_drive=False, bends=[bend], seed=7)
    (bent,) = (o for o in boot.stream if isinstance(o, CableBent))
    assert bent.how == str(bend)
    assert boot.outcome == outcome, boot.explain()
    if isinstance(boot.outcome, Booted) and "late" in str(bend):
        assert boot.outcome.seconds > 2.0
    said = (reading.case.evidence / "bends.txt").read_text()
    assert said == f"seed 7\n{bend}\n"


@pytest.mark.parametrize(
    ("controller", "gate", "booted"),
    [
        ("ehci", Gate.path("/data/boot.img"), MEDIUM),
        ("xhci", Gate.path("/data/boot.img"), MEDIUM),
        ("ehci", Gate.EMPTY, NEXT_DEVICE),
        ("uhci", Gate.EMPTY, NEXT_DEVICE),
    ],
)
def test_the_real_library_and_wireshark_see_what_crosses(
    rig: Rig, tmp_path: Path, controller: str, gate: Gate, booted: str
) -> None:
    write_boot_disk(tmp_path / "boot.img", MEDIUM)
    rig.gadget.start(gate=gate, media=[tmp_path / "boot.img"])
    relay = rig.gadget.relay
    assert relay is not None
    crossed: list[tuple[Side, Packet]] = []
    pass_on = relay.forward

    def forward(packet: Packet, to: Side) -> None:
        crossed.append((to, packet))
        pass_on(packet, to)

    relay.forward = forward  # type: ignore[method-assign]
    boot = rig.host.boot(controller)
    assert boot.outcome == Booted(booted), boot.explain()
    caps = relay._caps()
    for side in Side:
        packets = [p for to, p in crossed if to is side and not isinstance(p, Hello)]
        assert len(packets) > 20
        oracle = Oracle(side, caps)
        assert oracle.feed(b"".join(p.raw or encode(p, side.other, caps) for p in packets))
        for packet, theirs in zip(packets, oracle.heard, strict=True):
            assert agrees(as_heard(packet, caps.shared), theirs)
        oracle.close()
    rig.close()
    (capture,) = rig.case.evidence.glob("*.pcapng")
    commands = [o.cdb[0] for o in boot.stream if isinstance(o, ScsiCommand)]
    assert opcodes_of_wireshark(capture) == commands


def opcodes_of_wireshark(capture: Path) -> list[int]:
    """The operation codes of all SCSI commands in a capture, none of it malformed."""
    command = ["tshark", "-n", "-r", str(capture), "-T", "fields", "-E", "separator=|"]
    fields = ("_ws.malformed", "usbms.dCBWSignature", "scsi_sbc.opcode", "scsi_mmc.opcode")
    command += [word for field in fields for word in ("-e", field)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert not [row for row in rows if row[0]], "malformed for Wireshark"
    return [int(row[2] or row[3], 16) for row in rows if row[1]]


@pytest.mark.alone  # a device that had no core of this machine is not blamed
def test_a_drive_that_answers_when_nobody_waits_any_more_is_the_firmwares(rig: Rig) -> None:
    rig.gadget.start(gate=Gate.EMPTY)
    assert rig.gadget._vm is not None
    # For a millisecond of the drive's each of ten others, with 6000 times its weight
    # (kernel/sched/core.c, sched_prio_to_weight), gets six seconds. In a group of their own:
    # the rest of the device has its share.
    slow, busy = "/sys/fs/cgroup/slow", "sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 &"
    others = f"{busy} echo $! >{slow}/cgroup.procs; renice -n -20 -p $!"
    command = [
        "set -e",
        "drive=$(pidof file-storage)",
        f"mkdir -p {slow}",
        f"for i in 1 2 3 4 5 6 7 8 9 10; do {others}; done",
        f"echo $drive >{slow}/cgroup.procs",
        "renice -n 19 -p $drive",
    ]
    answer = rig.gadget._vm._run("; ".join(command), Deadline.after(20, "the shell"))
    assert answer.status == 0, answer.text
    with pytest.raises(FirmwareFault, match="the host gave up on it"):
        rig.host.boot("ehci")


def test_a_boot_sector_is_traced_to_the_drive(reading: Rig) -> None:
    boot = reading.host.boot("ehci")
    assert boot.outcome == Booted(MEDIUM), boot.explain()
    assert sector_of(boot.stream, marker_sector(MEDIUM)) == 0
    assert sector_of(boot.stream, marker_sector(NEXT_DEVICE)) is None
    assert not keyboard_driven(boot.stream)
    assert not reading.gadget.press(CTRL_ALT_DEL), "nobody polls"


@pytest.mark.parametrize(
    ("shape", "controller"),
    [
        *((Shape.HID_AND_STORAGE, controller) for controller in CONTROLLERS),
        (Shape.FACTORY, "ehci"),
    ],
)
def test_the_gadgets_keyboard_resets_a_host_that_drives_it(
    rig: Rig, shape: Shape, controller: str
) -> None:
    """/boot/BIOS makes it one that a BIOS understands."""
    rig.gadget.start(gate=Gate.ABSENT, shape=shape, extra={"BIOS": b""})
    boot = rig.host.boot(controller)
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()
    # SeaBIOS asks an xHCI for the first report at its next timer interrupt (src/hw/usb-hid.c,
    # usb_check_event), which may be after the boot.
    assert rig.recorder.wait_until(keyboard_driven, 20), boot.explain()
    assert rig.gadget.press(CTRL_ALT_DEL)
    assert rig.recorder.wait_until(
        lambda seen: any(isinstance(o, HostEvent) and o.name == "RESET" and o.guest for o in seen),
        20,
    ), "the key was taken and the host did not reset"


def test_a_keyboard_without_boot_protocol_is_not_driven(rig: Rig) -> None:
    rig.gadget.start(gate=Gate.ABSENT)
    boot = rig.host.boot("ehci")
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()
    assert rig.recorder.wait_until(keyboard_driven, 0.5) is None, "nine timer interrupts"
    assert not rig.gadget.press(CTRL_ALT_DEL)
    assert not any(isinstance(o, HostEvent) for o in rig.recorder.seen())


def test_a_warm_boot_is_watched_like_a_cold_one(rig: Rig) -> None:
    """What is in memory of the boot before makes no difference, nor does what was in the drive."""
    rig.gadget.start(gate=Gate.EMPTY)
    assert rig.host.boot("ehci").outcome == Booted(NEXT_DEVICE)
    again = rig.host.warm_boot()
    assert again.outcome == Booted(NEXT_DEVICE), again.explain()
    assert again.asked.heard_empty
    rig.gadget.put_in_drive(DATA_PARTITION)
    wild = rig.host.warm_boot()
    assert wild.outcome == Hung("runaway"), wild.explain()
    assert [lun.file for lun in wild.luns] == [DATA_PARTITION]
