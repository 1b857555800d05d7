"""SAFE: the device keeps what is its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.errors import FirmwareFault, NotJudged, Refused, Untrue
from harness.firmware import Gate, Shape
from harness.firmware.nanokvm import DATA_PARTITION
from harness.gadget.vm import Lun
from harness.observation import SECTOR
from harness.outcome.changes import changes, got, put
from harness.outcome.kinds import MEDIUM, NEXT_DEVICE, Booted
from harness.owner import printable
from harness.plugin import requirement
from harness.probe.use import MEDDLED_WITH, try_everywhere, try_writes
from harness.rig import Fitted, Rig
from images.emmc import DATA_SIZE, DATA_START
from images.medium import Media
from images.payload import MEDDLER

# The factory shape's virtual USB controller has room for any number of LUNs.
GATES = [
    pytest.param(Gate.EMPTY, Shape.FACTORY, id="nothing_chosen"),
    pytest.param(Gate.LINE_FEED, Shape.HID_AND_STORAGE, id="gate_of_one_line_feed"),
    pytest.param(Gate.ABSENT, Shape.HID_AND_STORAGE, id="no_gate_file"),
    pytest.param(Gate.path("/data/boot.img"), Shape.FACTORY, id="image_chosen"),
    pytest.param(Gate.path("/data/gone.img"), Shape.HID_AND_STORAGE, id="chosen_image_missing"),
]


@requirement("SAFE-1")
@pytest.mark.parametrize(("gate", "shape"), GATES)
def test_no_lun_is_backed_by_a_block_device(
    rig: Rig, boot_image: Callable[[str], Path], gate: Gate, shape: Shape, fast_controller: str
) -> None:
    rig.gadget.start(gate=gate, shape=shape, media=[boot_image("boot.img")])
    before = rig.gadget.luns
    rig.host.boot(fast_controller, must_ask_drive=False)
    after = rig.gadget.luns
    assert_no_block_device(before)
    assert_no_block_device(after)
    for lun in (*before, *after):
        if lun.backing and lun.backing[-1] != "file":
            raise NotJudged(f"what backs {lun.name} cannot be found: {' -> '.join(lun.backing)}")
    if not before and gate.promises_drive:
        raise NotJudged("the firmware made no LUN to look at")


def assert_no_block_device(luns: Sequence[Lun]) -> None:
    for lun in luns:
        steps = " -> ".join(lun.backing)
        assert not any(s.startswith("block:") for s in lun.backing), (
            f"{lun.name} is backed by a block device of the device: {steps}"
        )


IMAGE = "/data/boot.img"


def nothing_more(rig: Rig) -> None:
    """As the boot script left it."""


def unmount(rig: Rig) -> None:
    server = rig.gadget.serve()
    server.mount(IMAGE)
    server.unmount()


def switch_on(rig: Rig) -> None:
    rig.gadget.serve().switch_disk(on=True)


def digest_or_gone(rig: Rig) -> str:
    try:
        return rig.gadget.digest(IMAGE)
    except FirmwareFault:
        return ""


REGION = DATA_SIZE // 32
PLACES = [
    (start + offset) // SECTOR
    for start in (0, DATA_START)
    for offset in (*range(0, DATA_SIZE, REGION), DATA_SIZE - SECTOR)
]
"""In the data partition, be it all of the drive or a part of it."""


@requirement("SAFE-2")
@pytest.mark.parametrize(
    ("gate", "then"),
    [
        pytest.param(Gate.EMPTY, nothing_more, id="boot_script"),
        pytest.param(Gate.EMPTY, unmount, id="unmount"),
        pytest.param(Gate.ABSENT, switch_on, id="toggle"),
    ],
)
def test_nobody_gets_at_the_data_partition(
    rig: Rig, media: Media, gate: Gate, then: Callable[[Rig], None], fast_controller: str
) -> None:
    """First a host that asks for what it likes, then a PC that was booted from another drive."""
    rig.gadget.start(gate=gate, media=[media.disk("boot.img", MEDIUM)])
    then(rig)
    file, before = rig.gadget.digest(IMAGE), rig.gadget.data()
    with rig.gadget.drive() as drive:
        try_everywhere(drive, PLACES)
    offsets = rig.gadget.data_offsets()
    fitted = Fitted(cdrom=media.meddler("meddler.iso"))
    boot = rig.host.boot(fast_controller, fitted=fitted, must_ask_drive=False)
    offsets |= rig.gadget.data_offsets()
    stream, after = rig.recorder.seen(), rig.gadget.data()
    read = got(stream, before)
    changed = changes(before, after, put(stream), offsets)
    rig.keep("data-partition.txt", "\n".join(map(str, [*read, *changed])) or "nothing")
    wrong = []
    if read:
        wrong.append(f"the host got bytes of the data partition ({len(read)}): {read[0]}")
    # A loop device may have them elsewhere than where the host put them.
    if by_host := [c for c in changed if c.by or c.after.startswith(MEDDLED_WITH)]:
        wrong.append(f"it changed bytes of it ({len(by_host)}): {by_host[0]}")
    if wrong and digest_or_gone(rig) != file:
        wrong.append(f"the device itself does not read {IMAGE} as it was")
    assert not wrong, "; ".join(wrong)
    if changed:
        raise NotJudged(
            f"the data partition changed by itself: {changed[0]} (data-partition.txt has the rest)"
        )
    if boot.outcome != Booted(MEDDLER):
        raise NotJudged(f"the PC did not try its BIOS on the drive: it {boot.outcome}")


@requirement("SAFE-3")
def test_a_read_only_medium_stays_as_it_is(
    rig: Rig, boot_image: Callable[[str], Path], fast_controller: str
) -> None:
    gate, images = Gate.path(IMAGE), [boot_image("boot.img")]
    rig.gadget.start(gate=gate, media=images, extra={"usb.disk0.ro": b""})
    assert_unchanged(rig, fast_controller)


@requirement("SAFE-3")
def test_a_cdrom_stays_as_it_is(rig: Rig, media: Media, fast_controller: str) -> None:
    rig.gadget.start(gate=Gate.EMPTY, media=[media.iso("boot.img", MEDIUM)])
    rig.gadget.serve().mount(IMAGE, cdrom=True)
    assert_unchanged(rig, fast_controller)


def assert_unchanged(rig: Rig, controller: str) -> None:
    before = rig.gadget.digest(IMAGE)
    if not before:
        raise NotJudged("the device itself cannot read its image")
    with rig.gadget.drive(read_only=True) as drive:
        passed = try_writes(drive)
    after = rig.gadget.digest(IMAGE)
    boot = rig.host.boot(controller)
    assert not passed, f"the host wrote to it: {', '.join(passed)}"
    assert after == before, "no write passed, and the image on the device is another"
    assert boot.outcome == Booted(MEDIUM), boot.explain()


IMPOSSIBLE = {
    "no such file": "/data/gone.img",
    "a folder": "/data/folder.img",
    "an empty file": "/data/empty.img",
    "a file of one byte": "/data/byte.img",
    "a file of less than a block": "/data/short.img",
    "a file outside /data": "/boot/outside.img",
    "a file outside /data, by way of it": "/data/../boot/outside.img",
    "a link that leads out of /data": "/data/link.img",
    "a name with a line feed": "/data/boot.img\n",
    "the data partition": DATA_PARTITION,
}
NO_CDROM = {"an ISO image cut off within a CD's smallest track": "/data/cut.iso"}
"""The kernel takes none of less than 300 blocks (storage_common.c, fsg_lun_open)."""


@requirement("SAFE-4")
@pytest.mark.parametrize("cdrom", [pytest.param(False, id="disk"), pytest.param(True, id="cdrom")])
def test_a_medium_that_cannot_be_is_refused(
    rig: Rig, media: Media, cdrom: bool, fast_controller: str
) -> None:
    """With a medium in the drive, which has to stay there."""
    images = [
        media.disk("boot.img", MEDIUM),
        media.file("empty.img", b""),
        media.file("byte.img", b"\0"),
        media.file("short.img", bytes(SECTOR - 1)),
        media.cut_iso("cut.iso", 299),
    ]
    rig.gadget.start(
        gate=Gate.path("/data/boot.img"),
        data_partition="ext4",  # exFAT has no links
        media=images,
        extra={"outside.img": images[0].read_bytes()},
    )
    rig.gadget.make_folder("/data/folder.img")
    rig.gadget.make_link("/data/link.img", "/boot/outside.img")
    server = rig.gadget.serve()
    before = rig.gadget.luns
    wrong = []
    for what, file in (IMPOSSIBLE | NO_CDROM if cdrom else IMPOSSIBLE).items():
        try:
            server.mount(file, cdrom=cdrom)
            wrong.append(f"{what} was mounted")
        except Refused:
            pass
        except Untrue as untruth:
            wrong.append(f"{what}: {untruth}")
        if rig.gadget.luns != before:
            wrong.append(f"{what} was asked for, and the drive {told(rig.gadget.luns)} since")
            server.mount("/data/boot.img")
    boot = rig.host.boot(fast_controller)
    assert not wrong, "; ".join(wrong)
    assert boot.outcome == Booted(MEDIUM), boot.explain()


@requirement("SAFE-4")
def test_delete_of_what_is_mounted(rig: Rig, media: Media, fast_controller: str) -> None:
    """It is refused, or the medium is taken out: none stays in the drive without a name."""
    rig.gadget.start(gate=Gate.EMPTY, media=[media.disk("boot.img", MEDIUM)])
    server = rig.gadget.serve()
    server.mount(IMAGE)
    try:
        server.delete(IMAGE)
        held, ends = "", NEXT_DEVICE
    except Refused:
        held, ends = IMAGE, MEDIUM
    boot = rig.host.boot(fast_controller)
    server.check_told(held)
    assert boot.outcome == Booted(ends), boot.explain()


def told(luns: Sequence[Lun]) -> str:
    held = [printable(lun.file, 100) or "nothing" for lun in luns]
    return f"holds {' and '.join(held)}" if held else "is gone"
