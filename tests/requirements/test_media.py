"""MEDIA: a chosen medium works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import Refused
from harness.firmware import Gate
from harness.host.pc import CONTROLLERS
from harness.outcome.kinds import MEDIUM, NEXT_DEVICE, Booted, Hung, Outcome
from harness.plugin import early, elsewhere, full, requirement
from harness.probe.checks import last_and_size
from harness.probe.use import lock
from harness.rig import Fitted, Rig
from images.medium import Media
from images.payload import DISK_SIZE
from images.real import REAL


@requirement("MEDIA-1")
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_the_image_that_the_gate_file_names_boots(
    rig: Rig, boot_image: Callable[[str], Path], controller: str
) -> None:
    rig.gadget.start(gate=Gate.path("/data/boot.img"), media=[boot_image("boot.img")])
    boot = rig.host.boot(controller)
    assert boot.outcome == Booted(MEDIUM), boot.explain()


@requirement("MEDIA-1")
@pytest.mark.parametrize("name", [pytest.param("boot disk.img", id="name_with_a_blank")])
def test_an_image_with_a_blank_in_its_name_boots(
    rig: Rig, boot_image: Callable[[str], Path], name: str, fast_controller: str
) -> None:
    rig.gadget.start(gate=Gate.path(f"/data/{name}"), media=[boot_image(name)])
    boot = rig.host.boot(fast_controller)
    assert boot.outcome == Booted(MEDIUM), boot.explain()


IN_DRIVE = {
    "disk": ("a.img", False, "disk-a"),
    "other_disk": ("b.img", False, "disk-b"),
    "cdrom": ("c.iso", True, "cdrom-c"),
    "hybrid_as_cdrom": ("h.iso", True, "hybrid-cdrom"),
    "hybrid_as_disk": ("h.iso", False, "hybrid-disk"),
}
"""An image's name, whether it is mounted as a CD-ROM, and what says that it was booted."""


def all_media(media: Media) -> list[Path]:
    return [
        media.disk("a.img", "disk-a"),
        media.disk("b.img", "disk-b"),
        media.iso("c.iso", "cdrom-c"),
        media.iso("h.iso", "hybrid-cdrom", "hybrid-disk"),
    ]


@pytest.mark.parametrize(
    ("kind", "controller"),
    [
        pytest.param(
            *(kind, controller),
            id=f"{kind}-{controller}",
            marks=[requirement(name), *([] if controller == "ehci" else [elsewhere])],
        )
        for name, kind in (
            ("MEDIA-2", "cdrom"),
            ("MEDIA-3", "disk"),
            ("MEDIA-4", "hybrid_as_cdrom"),
            ("MEDIA-4", "hybrid_as_disk"),
        )
        for controller in CONTROLLERS
    ],
)
def test_a_mounted_medium_boots(rig: Rig, media: Media, kind: str, controller: str) -> None:
    rig.gadget.start(gate=Gate.EMPTY, media=all_media(media))
    name, cdrom, label = IN_DRIVE[kind]
    rig.gadget.serve().mount(f"/data/{name}", cdrom=cdrom)
    boot = rig.host.boot(controller)
    assert boot.outcome == Booted(label), boot.explain()


EACH_AFTER_ANOTHER = (
    *("disk", "other_disk", "cdrom", "hybrid_as_cdrom", "hybrid_as_disk", "disk"),
)

CHANGES = {
    # (kind, whether the one before is unmounted first): both ways from disk to CD-ROM and back
    "both_ways": (
        *(("disk", False), ("cdrom", False), ("other_disk", False)),
        *(("hybrid_as_cdrom", True), ("disk", True)),
    ),
    "at_once": tuple((kind, False) for kind in EACH_AFTER_ANOTHER),
    "after_an_unmount": tuple((kind, True) for kind in EACH_AFTER_ANOTHER),
}


@early
@requirement("MEDIA-5")
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(changes, id=name, marks=() if name == "both_ways" else full)
        for name, changes in CHANGES.items()
    ],
)
def test_the_new_medium_boots(
    rig: Rig, media: Media, changes: tuple[tuple[str, bool], ...], fast_controller: str
) -> None:
    rig.gadget.start(gate=Gate.EMPTY, media=all_media(media))
    server = rig.gadget.serve()
    for i, (kind, unmount_first) in enumerate(changes):
        if unmount_first:
            server.unmount()
        name, cdrom, label = IN_DRIVE[kind]
        server.mount(f"/data/{name}", cdrom=cdrom)
        server.check_told(f"/data/{name}", cdrom=cdrom)
        if i < len(changes) - 1:
            outcome = rig.record.outcome = rig.host.rehearse(fast_controller).outcome
            assert outcome == Booted(label), f"{outcome}, with {kind} mounted as change {i}"
    boot = rig.host.boot(fast_controller)
    assert boot.outcome == Booted(label), boot.explain()


DISK, CDROM = requirement("MEDIA-3"), requirement("MEDIA-2")
CANNOT_BOOT: dict[str, Callable[[Media], Path]] = {
    "blank": lambda media: media.file("x.img", bytes(1 << 20)),
    "fat": lambda media: media.data_only("x.img", "vfat"),
    "exfat": lambda media: media.data_only("x.img", "exfat"),
    "gpt": lambda media: media.data_only("x.img", "gpt"),
    "cut_iso": lambda media: media.cut_iso("x.iso", 400),
}
"""Media that a user may choose all the same: some of them make hosts hang, whatever drive has them.
"""

GIVES_UP_SECONDS = 20.0
"""How long a host may take that finds nothing to boot. One that asks for a key takes all of it."""


def alike(one: Outcome, other: Outcome) -> bool:
    """Whether two hosts end alike: in what was never code one may run wild where another halts."""
    return one == other or (isinstance(one, Hung) and isinstance(other, Hung))


@full
@requirement("MEDIA-5")
@pytest.mark.parametrize("kind", CANNOT_BOOT)
def test_a_medium_that_cannot_boot_and_the_one_after_it(
    rig: Rig, media: Media, kind: str, fast_controller: str
) -> None:
    """The host does with it what it does with it in any drive, and boots the next one."""
    bad = CANNOT_BOOT[kind](media)
    rig.gadget.start(gate=Gate.EMPTY, media=[bad, media.disk("a.img", "disk-a")])
    server, cdrom = rig.gadget.serve(), bad.suffix == ".iso"
    server.mount(f"/data/{bad.name}", cdrom=cdrom)
    server.check_told(f"/data/{bad.name}", cdrom=cdrom)
    ends = rig.host.rehearse(fast_controller, seconds=GIVES_UP_SECONDS).outcome
    rig.record.outcome = ends
    usual = rig.ends_with_own_drive(fast_controller, bad, cdrom=cdrom, seconds=GIVES_UP_SECONDS)
    assert alike(ends, usual), f"{ends}, and with the same medium in QEMU's own drive {usual}"
    rig.note(f"a medium that cannot boot ({kind}): {ends}, as in any drive")
    server.mount("/data/a.img")
    server.check_told("/data/a.img", cdrom=False)
    boot = rig.host.boot(fast_controller)
    assert boot.outcome == Booted("disk-a"), boot.explain()


GIB = 1 << 30


@full
@pytest.mark.parametrize(
    ("kind", "data_partition", "size"),
    [
        pytest.param("disk", "ext4", DISK_SIZE + 100, id="a_part_of_a_sector_more", marks=DISK),
        pytest.param("disk", "exfat", None, id="as_long_as_can_be-exfat", marks=DISK),
        pytest.param("disk", "ext4", None, id="as_long_as_can_be-ext4", marks=DISK),
        # 60 times 75 blocks of 2048 bytes in a minute of a CD, of which there can be 256.
        pytest.param("cdrom", "ext4", 3 * GIB, id="more_than_a_cd", marks=CDROM),
    ],
)
def test_a_medium_of_an_odd_size_boots(
    rig: Rig, media: Media, kind: str, data_partition: str, size: int | None, fast_controller: str
) -> None:
    name, cdrom, label = IN_DRIVE[kind]
    path = f"/data/{name}"
    rig.gadget.start(gate=Gate.EMPTY, data_partition=data_partition, media=all_media(media))
    bytes_of_file = rig.gadget.lengthen(path, size)
    server = rig.gadget.serve()
    server.mount(path, cdrom=cdrom)
    server.check_told(path, cdrom=cdrom)
    with rig.gadget.drive() as drive:
        drive.settle()
        last, block = last_and_size(drive)
    boot = rig.host.boot(fast_controller)
    given = (last + 1) * block
    # 2^32 blocks are more than READ CAPACITY(10) can tell (SBC-3, 5.12).
    if last < 0xFFFFFFFF and given != bytes_of_file // block * block:
        # f_mass_storage (storage_common.c, fsg_lun_open), "using only first ... blocks"
        rig.note(f"of {name}, {bytes_of_file} bytes, a host is shown {given}")
    assert boot.outcome == Booted(label), boot.explain()


SHORT = (("memtest.iso", True), ("rescue.iso", False))
"""What is tried without --full."""

USED = [
    pytest.param(
        *(name, cdrom, controller),
        id=f"{name.removesuffix('.iso')}-{'cdrom' if cdrom else 'disk'}-{controller}",
        marks=full if (name, cdrom) not in SHORT else () if controller == "ehci" else elsewhere,
    )
    for name in REAL
    for cdrom in (True, False)
    for controller in CONTROLLERS
    if controller == "ehci" or not (REAL[name].large or controller == "ohci")
]
"""Each as a CD-ROM, which the server mounts, and as a disk, which the gate file names.

None on OHCI: there SeaBIOS gives such loads up ("Timeout at wait_ed", src/hw/usb-ohci.c), or takes
minutes for them, with QEMU's own USB drive, too: no first screen of rescue.iso within 90 s.
"""


@requirement("MEDIA-6")
@pytest.mark.parametrize(("name", "cdrom", "controller"), USED)
def test_a_medium_that_people_use_boots(
    rig: Rig, media: Media, name: str, cdrom: bool, controller: str
) -> None:
    real = REAL[name]
    path = f"/data/{name}"
    gate = Gate.EMPTY if cdrom else Gate.path(path)
    rig.gadget.start(gate=gate, media=[media.real(name)])
    if cdrom:
        rig.gadget.serve().mount(path, cdrom=True)
    boot = rig.host.boot(
        controller,
        fitted=Fitted(megabytes=real.megabytes),
        shows=real.shows,
        seconds=real.seconds,
    )
    assert boot.outcome == Booted(MEDIUM), boot.explain()


@requirement("MEDIA-7")
@pytest.mark.parametrize("kind", ["disk", "cdrom"])
def test_a_medium_that_the_host_holds(
    rig: Rig, media: Media, kind: str, fast_controller: str
) -> None:
    """It is taken out, or the server says that it cannot be: both are right, if they are true."""
    rig.gadget.start(gate=Gate.EMPTY, media=all_media(media))
    server = rig.gadget.serve()
    name, cdrom, label = IN_DRIVE[kind]
    server.mount(f"/data/{name}", cdrom=cdrom)
    held, ends = "", NEXT_DEVICE
    with rig.gadget.drive() as drive:
        lock(drive)
        try:
            server.unmount()
        except Refused:
            held, ends = f"/data/{name}", label
    boot = rig.host.boot(fast_controller)
    server.check_told(held, cdrom=cdrom if held else None)
    assert boot.outcome == Booted(ends), boot.explain()
