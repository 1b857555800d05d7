"""EMPTY: a drive without a medium is harmless."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from harness.errors import NotJudged
from harness.firmware import Gate, Shape
from harness.firmware.nanokvm import DATA_PARTITION
from harness.host.pc import BIOSES, CONTROLLERS, DEFAULT_BIOS
from harness.outcome.cost import LIMIT_SECONDS, Spent, account, cost, told
from harness.outcome.kinds import MEDIUM, NEXT_DEVICE, Booted, Outcome
from harness.outcome.moments import Moment
from harness.owner import printable
from harness.plugin import elsewhere, full, requirement
from harness.probe.checks import EMPTY_6, Held
from harness.probe.run import findings
from harness.rig import Boot, Rig
from images.emmc import DATA_PARTITIONS
from images.medium import Media

# What another partition does to a host does not depend on its controller; nor does what the factory
# shape adds, but for the newest.
SITUATIONS_THAT_TELL_MOST = {
    *((Shape.HID_AND_STORAGE, "exfat", controller) for controller in CONTROLLERS),
    *((Shape.HID_AND_STORAGE, data_partition, "ehci") for data_partition in DATA_PARTITIONS),
    *((Shape.FACTORY, "exfat", controller) for controller in ("ehci", "xhci")),
}
SITUATIONS = [
    pytest.param(
        *(shape, data_partition, controller),
        id=f"{shape.value}-{data_partition}-{controller}",
        marks=() if (shape, data_partition, controller) in SITUATIONS_THAT_TELL_MOST else full,
    )
    for shape in (Shape.HID_AND_STORAGE, Shape.FACTORY)
    for data_partition in DATA_PARTITIONS
    for controller in CONTROLLERS
]
"""The gadget's functions beside the drive, what the device's data partition holds, and the host's
controller."""

ASKED_DIRECTLY = [
    pytest.param(Shape.HID_AND_STORAGE, "exfat", id="hid_and_storage-exfat"),
    pytest.param(Shape.FACTORY, "exfat", id="factory-exfat", marks=full),
    pytest.param(Shape.HID_AND_STORAGE, "ext4", id="hid_and_storage-ext4", marks=full),
    pytest.param(Shape.HID_AND_STORAGE, "blank", id="hid_and_storage-blank", marks=full),
]
"""What is on the data partition matters only to a firmware that shows it, and that shows."""

SERVED = [pytest.param(c, marks=() if c == "ehci" else elsewhere) for c in CONTROLLERS]
"""What the server made of the drive differs between controllers least."""

OTHER_CONTROLLERS = [pytest.param(c, marks=full) for c in CONTROLLERS if c != "ehci"]
"""Beside EHCI, which `fast_controller` is unless the user says otherwise."""

OTHER_HOSTS = [
    pytest.param(bios, data_partition, id=f"{bios}-{data_partition}")
    for bios in ("blind", "strict")
    for data_partition in DATA_PARTITIONS
]


@requirement("EMPTY-1")
@pytest.mark.parametrize(("shape", "data_partition", "controller"), SITUATIONS)
def test_host_goes_on_past_an_empty_drive(
    rig: Rig, shape: Shape, data_partition: str, controller: str
) -> None:
    rig.gadget.start(gate=Gate.EMPTY, shape=shape, data_partition=data_partition)
    assert_passed_by(rig.host.boot(controller))


@requirement("EMPTY-1")
@pytest.mark.parametrize("gate", [pytest.param(Gate.LINE_FEED, id="gate_of_one_line_feed")])
def test_a_gate_file_of_one_line_feed_chooses_nothing(
    rig: Rig, gate: Gate, fast_controller: str
) -> None:
    rig.gadget.start(gate=gate)
    boot = rig.host.boot(fast_controller)
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()
    assert boot.asked.heard_empty, "the drive never said that it has no medium (02/3A)"


IMAGE = "/data/boot.img"


@requirement("EMPTY-2")
@pytest.mark.parametrize("controller", SERVED)
def test_host_goes_on_after_an_unmount(
    rig: Rig, boot_image: Callable[[str], Path], controller: str
) -> None:
    rig.gadget.start(gate=Gate.EMPTY, media=[boot_image("boot.img")])
    server = rig.gadget.serve()
    server.mount(IMAGE)
    server.unmount()
    assert_passed_by(rig.host.boot(controller))


@requirement("EMPTY-2")
@pytest.mark.parametrize(
    "cdrom", [pytest.param(False, id="warm_disk"), pytest.param(True, id="warm_cdrom")]
)
def test_host_that_was_on_goes_on_after_an_unmount(
    rig: Rig, media: Media, cdrom: bool, fast_controller: str
) -> None:
    """The host is on while the medium is taken out, and is reset then."""
    image = media.iso("boot.img", MEDIUM) if cdrom else media.disk("boot.img", MEDIUM)
    rig.gadget.start(gate=Gate.EMPTY, media=[image])
    server = rig.gadget.serve()
    server.mount(IMAGE, cdrom=cdrom)
    before = rig.host.boot(fast_controller)
    if before.outcome != Booted(MEDIUM):
        raise NotJudged(f"with the image mounted the host {before.outcome}")
    server.unmount()
    assert_passed_by(rig.host.warm_boot())


@requirement("EMPTY-3")
@pytest.mark.parametrize("controller", SERVED)
def test_host_goes_on_past_a_drive_that_the_server_switched_on(rig: Rig, controller: str) -> None:
    rig.gadget.start(gate=Gate.ABSENT)
    rig.gadget.serve().switch_disk(on=True)
    assert_passed_by(rig.host.boot(controller))


def assert_passed_by(boot: Boot) -> None:
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()
    assert boot.asked.heard_empty, "the drive never said that it has no medium (02/3A)"
    assert boot.asked.removable, "an empty drive that is not removable (INQUIRY: RMB=0)"


@requirement("EMPTY-4")
@pytest.mark.parametrize(("bios", "data_partition"), OTHER_HOSTS, indirect=["bios"])
def test_other_hosts_go_on_past_an_empty_drive(
    rig: Rig, bios: str | None, data_partition: str, fast_controller: str
) -> None:
    rig.gadget.start(gate=Gate.EMPTY, data_partition=data_partition)
    boot = rig.host.boot(fast_controller, bios=bios)
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()


@requirement("EMPTY-4")
@pytest.mark.parametrize(("bios", "data_partition"), OTHER_HOSTS, indirect=["bios"])
@pytest.mark.parametrize("controller", OTHER_CONTROLLERS)
def test_other_hosts_with_other_controllers_do(
    rig: Rig, bios: str | None, data_partition: str, controller: str
) -> None:
    rig.gadget.start(gate=Gate.EMPTY, data_partition=data_partition)
    boot = rig.host.boot(controller, bios=bios)
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()


# Until they hand over, all three BIOSes are SeaBIOS; what they do next differs.
PRESSES_THAT_TELL_MOST = {
    *((DEFAULT_BIOS, "exfat", moment) for moment in Moment),
    ("blind", "exfat", Moment.HANDOVER),
    ("strict", "ext4", Moment.HANDOVER),
    ("strict", "blank", Moment.HANDOVER),
}
PRESSES = [
    pytest.param(
        *press,
        id=f"{press[0]}-{press[1]}-{press[2].value}",
        marks=() if press in PRESSES_THAT_TELL_MOST else full,
    )
    for press in product(BIOSES, DATA_PARTITIONS, Moment)
]


@requirement("EMPTY-5")
@pytest.mark.parametrize(("bios", "data_partition", "moment"), PRESSES, indirect=["bios"])
def test_ctrl_alt_del_is_honoured_at_any_moment(
    rig: Rig, bios: str | None, data_partition: str, moment: Moment, fast_controller: str
) -> None:
    rig.gadget.start(gate=Gate.EMPTY, data_partition=data_partition)
    boot = rig.host.boot(fast_controller, bios=bios, press=moment)
    assert boot.keyboard_alive, boot.explain()


@requirement("EMPTY-6")
@pytest.mark.parametrize(("shape", "data_partition"), ASKED_DIRECTLY)
def test_the_drive_itself_says_that_it_is_empty(
    rig: Rig, shape: Shape, data_partition: str, fast_controller: str
) -> None:
    rig.gadget.start(gate=Gate.EMPTY, shape=shape, data_partition=data_partition)
    with rig.gadget.drive() as drive:
        found = list(findings(drive, Held.NOTHING, EMPTY_6))
    rig.host.boot(fast_controller, must_ask_drive=False)
    broken = [finding for finding in found if finding.result != "kept"]
    assert not broken, "; ".join(map(str, broken))


# EHCI, on which SeaBIOS waits for nothing, and one on which it waits for an answer that it has.
TIMED = [pytest.param(c, marks=() if c in ("ehci", "xhci") else elsewhere) for c in CONTROLLERS]
TIMES = 3


@requirement("EMPTY-8")
def test_nothing_chosen_is_nothing_mounted(
    rig: Rig, boot_image: Callable[[str], Path], fast_controller: str
) -> None:
    rig.gadget.start(gate=Gate.EMPTY, media=[boot_image("boot.img")])
    server = rig.gadget.serve()
    told = {"in its factory state": server.mounted()}
    server.mount(IMAGE)
    server.unmount()
    told["after an unmount"] = server.mounted()
    rig.gadget.put_in_drive(DATA_PARTITION)
    told["as an older release leaves it"] = server.mounted()
    rig.gadget.put_in_drive("")
    rig.host.boot(fast_controller, must_ask_drive=False)
    wrong = [f"{when} it says {printable(file)}" for when, file in told.items() if file]
    assert not wrong, f"asked what is mounted, {'; '.join(wrong)}"


@requirement("EMPTY-7")
@pytest.mark.parametrize("controller", TIMED)
def test_an_empty_drive_costs_the_host_little(rig: Rig, controller: str) -> None:
    rig.gadget.start(gate=Gate.ABSENT)
    without = timed(rig, controller, TIMES)
    rig.gadget.start(gate=Gate.EMPTY)
    with_drive = timed(rig, controller, TIMES - 1)
    boot = rig.host.boot(controller)
    check_timed(boot.outcome)
    with_drive.append(boot.spent)
    rig.keep("cost.txt", account(with_drive, without))
    rig.note(told(with_drive, without))
    assert cost(with_drive, without) <= LIMIT_SECONDS, account(with_drive, without)


def timed(rig: Rig, controller: str, times: int) -> list[Spent]:
    """Where the time of several boots went. Raises NotJudged when one ends otherwise."""
    boots = []
    for _ in range(times):
        boot = rig.host.rehearse(controller)
        check_timed(boot.outcome)
        boots.append(boot.spent)
    return boots


def check_timed(outcome: Outcome) -> None:
    if outcome != Booted(NEXT_DEVICE):
        raise NotJudged(f"a boot that was to be timed ended otherwise: {outcome}")
