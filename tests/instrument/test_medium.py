"""Media that are made: what is in them, and what a PC does with them in a drive of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from cable import fixed_rig

from harness.firmware import Gate
from harness.outcome.kinds import NEXT_DEVICE, Booted, NoBootDevice, Outcome
from images.medium import CD_SECTOR, DATA_ONLY, Media
from images.payload import MARK

SIGNATURE = b"\x55\xaa"
SECONDS = 20.0
"""How long a PC may take to its end; it takes one."""


@pytest.fixture
def media(tmp_path: Path) -> Media:
    folder = tmp_path / "media"
    folder.mkdir()
    return Media(folder)


@pytest.mark.parametrize("kind", DATA_ONLY)
def test_what_holds_data_only(media: Media, kind: str) -> None:
    image = media.data_only("a.img", kind).read_bytes()
    sector = image[:512]
    assert sector[510:] == SIGNATURE, "a BIOS takes it for one that boots"
    # FAT specification, table 3; exFAT specification, 3.1; UEFI specification, 5.2.3 and 5.3.2.
    assert {"vfat": sector[54:57] == b"FAT", "exfat": sector[3:8] == b"EXFAT", "gpt": True}[kind]
    assert (image[512:520] == b"EFI PART") == (kind == "gpt")
    if kind != "vfat":  # FAT's code says that it does not boot
        assert not any(sector[120:440])
    assert media.data_only("b.img", kind).read_bytes() == image, "it has made-up numbers, once"


def boot_record(iso: bytes) -> tuple[int, int]:
    """The block of an ISO image's boot catalog, and the one of what that boots.

    El Torito 1.0, figures 7 and 3; the catalog may be behind the end.
    """
    catalog = int.from_bytes(iso[0x8847:0x884B], "little")
    entry = iso[catalog * CD_SECTOR + 32 :][:32]
    return catalog, int.from_bytes(entry[8:12], "little")


def test_an_iso_image_boots_what_it_says(media: Media) -> None:
    iso = media.iso("a.iso", "one").read_bytes()
    _, block = boot_record(iso)
    assert f"{MARK}one".encode() in iso[block * CD_SECTOR :][:CD_SECTOR]


def test_a_cut_iso_image_has_lost_what_it_boots(media: Media) -> None:
    iso = media.cut_iso("a.iso", 400).read_bytes()
    assert len(iso) == 400 * CD_SECTOR
    assert iso[0x8801:0x8806] == b"CD001", "it says that it boots"
    assert boot_record(iso)[0] >= 400
    assert MARK.encode() not in iso


@pytest.mark.rig
@pytest.mark.parametrize(
    ("cdrom", "cut", "ends"),
    [
        (True, False, Booted("one")),
        (True, True, Booted(NEXT_DEVICE)),
        (False, False, NoBootDevice()),
    ],
)
def test_a_cdrom_drive_of_the_pcs_own(
    tmp_path: Path, media: Media, cdrom: bool, cut: bool, ends: Outcome
) -> None:
    """In one that is no CD-ROM drive an ISO image that is no hybrid boots nothing."""
    image = media.cut_iso("a.iso", 400) if cut else media.iso("a.iso", "one")
    with fixed_rig(tmp_path) as rig:
        assert rig.ends_with_own_drive("ehci", image, cdrom=cdrom, seconds=SECONDS) == ends


@pytest.mark.rig
def test_a_file_on_the_device_is_lengthened(tmp_path: Path, media: Media) -> None:
    with fixed_rig(tmp_path) as rig:
        rig.gadget.start(
            gate=Gate.EMPTY, data_partition="ext4", media=[media.disk("a b.img", "one")]
        )
        assert rig.gadget.lengthen("/data/a b.img", 3 << 30) == 3 << 30
        longest = rig.gadget.lengthen("/data/a b.img", None)
    # ext4 with blocks of 1024 bytes: 2^32 of them, less one (Linux, fs/ext4/super.c,
    # ext4_max_size). A file system this small gets such blocks (mke2fs.conf, small).
    assert longest == ((1 << 32) - 1) << 10
