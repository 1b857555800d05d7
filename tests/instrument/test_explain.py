"""What is said of an outcome: a few lines for a bug report."""

from __future__ import annotations

import pytest

from harness.observation import (
    BiosLine,
    DiskIo,
    Handover,
    Observation,
    ScsiCommand,
    ScsiReply,
)
from harness.outcome.explain import explain, recovery_words, sector_words
from harness.outcome.kinds import Booted, Hung, Last, NoDrive, Recovery, Where
from harness.outcome.place import last_seen

EXFAT = (b"\xebv\x90EXFAT   " + bytes(499)).ljust(510, b"\0") + b"\x55\xaa"


def read(cdb: bytes, data: bytes, at: float = 1.0) -> list[Observation]:
    """A read over the cable. SeaBIOS gives all commands one tag."""
    name = {0x08: "READ(6)", 0x28: "READ(10)", 0x88: "READ(16)"}[cdb[0]]
    return [
        ScsiCommand(at, 999, 0, name, cdb, len(data), to_host=True),
        ScsiReply(at, 999, name, "passed", 0, len(data), data),
    ]


FIRST = read(b"\x28" + bytes(7) + b"\x01\0", EXFAT)
SECOND = read(b"\x28\0\0\0\0\x05\0\0\x01\0", bytes(512))
INQUIRED = [ScsiReply(0.5, 999, "INQUIRY", "passed", 0, 36, b"\0\x80" + bytes(34))]
SAID = [BiosLine(0.1, "SeaBIOS"), BiosLine(2.0, "Booting from 0000:7c00"), BiosLine(2.1, "")]
HUNG = Hung(
    "runaway",
    recovery=Recovery("resets", "not_driven", boots_without_drive=True),
    where=Where(0, 0x7C78, ("7C78  00 00   add [bx + si], al",), "the boot sector"),
    last=Last("Booting from 0000:7c00", "USB drive, LBA 5", "READ(10), passed"),
    why="zeros are executed",
)


def test_a_line_for_each_part_and_the_device() -> None:
    text = explain(HUNG, [*INQUIRED, *FIRST, *SECOND, *SAID], " with a partition", "script ended")
    assert text.splitlines() == [
        "hung (runaway) with a partition: zeros are executed",
        "drive: asked INQUIRY, READ(10); said nothing of a missing medium; its first sector: "
        "signature 55AA, code eb 76 90 45 58 46 41 54, file system exFAT",
        "wire: +1.000000 LUN 0 READ(10) [28 00 00 00 00 00 00 00 01 00], 512 bytes from drive: "
        "passed, 512 bytes in 0.000 s | +1.000000 LUN 0 READ(10) [28 00 00 00 00 05 00 00 01 00], "
        "512 bytes from drive: passed, 512 bytes in 0.000 s",
        "PC: BIOS: SeaBIOS | Booting from 0000:7c00; last disk read: USB drive, LBA 5; last SCSI "
        "command: READ(10), passed",
        "hang: at 0000:7C78, put there by the boot sector: 7C78 00 00 add [bx + si], al",
        "back to life: Ctrl-Alt-Del on a PS/2 keyboard resets it; the gadget's keyboard is not "
        "driven; with the drive unplugged it boots after a reset",
        "device: script ended",
    ]


def test_waits_on_the_wire_are_said_wherever_they_were() -> None:
    late = read(b"\x28\0\0\0\0\x05\0\0\x01\0", bytes(512), at=6.5)
    (line,) = (
        s for s in explain(HUNG, [*FIRST, *late, *late], "", "x").splitlines() if "wire" in s
    )
    assert line.startswith("wire: +1.000000 nothing for 5.5 s, after the answer to READ(10) | +6.5")


def test_what_the_bios_started_goes_before_what_it_read() -> None:
    handover = Handover(2.0, 0x80, bytes(512), bytes(0x500))
    text = explain(HUNG, [*FIRST, handover], "", "script ended")
    assert "; the sector that drive 80h gave: no signature 55AA, code 00" in text
    assert "(all alike), no file system in it that is known" in text


def test_the_first_sector_is_that_of_lba_0_and_no_other() -> None:
    for other in (SECOND, read(b"\x88" + bytes(5) + b"\x01" + bytes(9), EXFAT)):
        assert "first sector" not in explain(HUNG, other, "", "script ended")
    for first in (FIRST, read(b"\x08" + bytes(5), EXFAT), read(b"\x88" + bytes(15), EXFAT)):
        assert "first sector: signature 55AA" in explain(HUNG, [*SECOND, *first], "", "x")


def test_without_a_gadget_nothing_is_said_of_a_device() -> None:
    text = explain(Booted("next-device", 1.0, ("Boot failed: no",)), SAID, "", "")
    assert text.splitlines() == [
        "booted next-device: ",
        "PC: BIOS: SeaBIOS | Booting from 0000:7c00; before that: Boot failed: no",
    ]


def test_a_device_without_a_drive_is_all_there_is_to_say() -> None:
    text = explain(NoDrive(why="no function"), SAID, "", "script ended with status 1")
    assert text == "no drive: no function; script ended with status 1"


@pytest.mark.parametrize(
    ("offset", "magic", "name"),
    [
        (3, b"NTFS    ", "file system NTFS"),
        (54, b"FAT16   ", "file system FAT"),
        (82, b"FAT32   ", "file system FAT32"),
        (0, b"LUKS\xba\xbe", "file system LUKS"),
        (450, b"\xee", "a GPT disk's MBR"),
        (100, b"?", "no file system in it that is known"),
    ],
)
def test_what_a_sector_holds(offset: int, magic: bytes, name: str) -> None:
    sector = (bytes(offset) + magic).ljust(512, b"\0")
    assert sector_words(sector).endswith(f", {name}")


def test_what_brings_it_back() -> None:
    assert recovery_words(None) == "not tried"
    words = recovery_words(Recovery("dead", "resets", boots_without_drive=False))
    assert "PS/2 keyboard does nothing; the gadget's keyboard resets it" in words
    assert words.endswith("even with the drive unplugged it does not boot after a reset")
    words = recovery_words(Recovery("dead", "dead", boots_without_drive=None))
    assert words.endswith("no drive was plugged in")


def test_what_was_seen_last() -> None:
    assert last_seen([]) == Last("", "", "")
    assert last_seen([*SAID, *SECOND]).disk == "USB drive, LBA 5"
    assert last_seen(read(b"\x08\0\x01\x02\x01\0", bytes(512))).disk == "USB drive, LBA 258"
    far = b"\x88\0\0\0\0\x01" + bytes(10)
    assert last_seen(read(far, bytes(512))).disk == f"USB drive, LBA {1 << 32}"
    seen = last_seen([*FIRST[:1], DiskIo(3.0, 7, 0)])
    assert (seen.disk, seen.scsi) == ("next device, read number 7", "READ(10), not answered")
