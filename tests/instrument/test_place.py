"""Where a hung processor is, who put its code there, and what happened last."""

from __future__ import annotations

import dataclasses

import pytest
from states import EBDA, IF, frozen, handover

from harness.observation import (
    BiosLine,
    ControlReply,
    DiskIo,
    Frozen,
    Handover,
    ScsiCommand,
    ScsiReply,
)
from harness.outcome.kinds import Last
from harness.outcome.place import last_seen, where

CODE = bytes.fromhex("fa 31 c0 8e d8 bc 00 7c be 40 7c ac 84 c0 74 f9 f4")
SECTOR = CODE + bytes(510 - len(CODE)) + b"\x55\xaa"


def origin(state: Frozen, before: Handover | None = handover(SECTOR)) -> str:  # noqa: B008 (frozen)
    return where(state, before, ()).origin


def test_where_it_is_in_words_and_instructions() -> None:
    place = where(frozen(SECTOR, EIP=0x7C03, EDX=0x80), handover(SECTOR), ())
    assert (place.cs, place.ip) == (0, 0x7C03)
    assert str(place) == "0000:7C03"
    assert place.listing[:2] == (
        "7C03  8e d8                 mov ds, ax",
        "7C05  bc 00 7c              mov sp, 0x7c00",
    )
    assert len(place.listing) == 6


def test_a_halted_processor_is_at_its_hlt() -> None:
    after = frozen(SECTOR, halted=True, EIP=0x7C11)
    place = where(after, handover(SECTOR), ())
    assert str(place) == "0000:7C10"
    assert place.listing[0].endswith("hlt")
    assert str(where(frozen(SECTOR, EIP=0x7C11), None, ())) == "0000:7C11", "it is not halted"
    no_hlt = frozen(SECTOR, halted=True, EIP=0x7C03)
    assert str(where(no_hlt, None, ())) == "0000:7C03"


def test_in_flat_mode_it_is_32_bit_code() -> None:
    place = where(frozen(b"\xb8\x78\x56\x34\x12\xeb\xfe", mode=Frozen.FLAT_32, CS=8), None, ())
    assert place.listing[0].endswith("mov eax, 0x12345678")
    assert str(place) == "0008:7C00"


def test_what_is_no_instruction_is_shown_too() -> None:
    place = where(frozen(b"\xff\xff\xff\xff" * 4), None, ())
    assert place.listing == ("7C00  ff ff ff ff ff ff ff ff  no instruction",)


def test_memory_that_was_not_recorded_has_no_listing() -> None:
    empty = dataclasses.replace(frozen(SECTOR), memory=b"")
    place = where(empty, handover(SECTOR), ())
    assert place.listing == ()
    assert place.origin == "not known: it is not part of the boot sector"


def test_code_at_the_end_of_what_was_recorded() -> None:
    cut = where(frozen(b"\xeb\xfe", {0x7FFE: b"\xeb\xfe"}, EIP=0x7FFE), None, ())
    assert cut.listing == ("7FFE  eb fe                 jmp 0x7ffe",)


def test_code_of_the_boot_sector() -> None:
    assert origin(frozen(SECTOR)) == "the boot sector of drive 80h (the PC's own), at byte 0"
    assert origin(frozen(SECTOR, EIP=0x7C0B)).endswith("at byte 11")
    assert "drive 00h" in origin(frozen(SECTOR), handover(SECTOR, drive=0))
    assert origin(frozen(SECTOR), None).startswith("not known")


def test_a_boot_sector_that_was_written_over_is_not_it() -> None:
    over = SECTOR[:4] + b"\xeb\xfe" + SECTOR[6:]
    assert "boot sector of" not in origin(frozen(over))


def test_the_last_bytes_of_the_boot_sector() -> None:
    assert origin(frozen(SECTOR, {0x7E00: b"\x90"}, EIP=0x7DFE)).endswith("at byte 510")
    assert "boot sector of" not in origin(frozen(SECTOR, {0x7E00: b"\x90"}, EIP=0x7E00))


def test_code_that_copied_itself() -> None:
    moved = frozen("", {0x600: SECTOR}, EIP=0x605)
    assert origin(moved) == "copied from the boot sector of drive 80h (the PC's own), byte 5"
    few = frozen("", {0x600: CODE[:11]}, EIP=0x600)
    assert origin(few).startswith("not known"), "so few bytes prove nothing"
    alike = frozen("", {0x600: b"\x90" * 64}, EIP=0x600)
    assert origin(alike, handover(b"\x90" * 512)).startswith("not known"), "nor do all the same"


@pytest.mark.parametrize(
    ("cs", "ip", "words"),
    [
        (0xF000, 0xFF00, "the BIOS"),
        (0xE000, 0x0000, "the BIOS"),
        (0xDFFF, 0x000F, "an option ROM"),
        (0xC000, 0x0003, "an option ROM"),
        (0x0000, 0x0040, "nobody: it is the table of interrupt vectors"),
        (0x0000, 0x0400, "nobody: it is the BIOS's data area"),
        (0x0000, 0x04FF, "nobody: it is the BIOS's data area"),
        (0x0000, 0x6800, "nobody: memory full of zeros"),
        (EBDA >> 4, 0x0000, "not known: it is not part of the boot sector"),
    ],
)
def test_code_of_others(cs: int, ip: int, words: str) -> None:
    assert origin(frozen("", CS=cs, EIP=ip)) == words


def test_code_that_somebody_put_into_the_vectors_is_not_the_table() -> None:
    assert "table" not in origin(frozen("", {0x40: b"\xeb\xfe\x00\x00"}, EIP=0x40))
    assert "table" not in origin(frozen("", EIP=0x40, flags=IF), None)


def test_what_happened_last() -> None:
    assert last_seen(()) == Last("", "", "")
    read = ScsiCommand(0.1, 1, 0, "READ(10)", bytes.fromhex("28000000080000000100"), 512, True)
    stream = (
        BiosLine(0.0, "SeaBIOS"),
        BiosLine(0.1, "  Booting from Hard Disk...  "),
        BiosLine(0.2, "  "),
        ScsiCommand(0.0, 1, 0, "INQUIRY", b"\x12", 36, True),
        DiskIo(0.1, 3, 0),
    )
    assert last_seen(stream) == Last(
        "Booting from Hard Disk...", "next device, read number 3", "INQUIRY, not answered"
    )
    assert last_seen((*stream, read)) == Last(
        "Booting from Hard Disk...", "USB drive, LBA 2048", "READ(10), not answered"
    )
    done = ScsiReply(0.2, 1, "READ(10)", "failed", 0, 0, b"")
    assert last_seen((*stream, read, done, ControlReply(0.3, 1, "stall", 0))).scsi == (
        "READ(10), failed"
    )


def test_a_cut_command_names_no_sector() -> None:
    cut = ScsiCommand(0.1, 1, 0, "READ(10)", b"\x28\x00\x00", 512, True)
    assert last_seen((cut,)) == Last("", "", "READ(10), not answered")
