"""What a host got of the data partition and what it changed there, and by which command."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from harness.cable.scsi import command_name
from harness.observation import SECTOR, Observation, ScsiCommand, ScsiReply, sector_digest
from harness.outcome.changes import Moved, changes, got, put

PARTITION = b"".join(bytes([n]) * SECTOR for n in (1, 2, 3, 0, 0, 3, 4, 5))
"""Eight sectors: two of zeros, two that are alike."""

READ_10, WRITE_10 = 0x28, 0x2A


def said(
    operation: int,
    lba: int,
    number: int = 1,
    *,
    data: bytes = b"",
    status: str = "passed",
    residue: int = 0,
    lun: int = 0,
    tag: int = 1,
) -> list[Observation]:
    cdb = struct.pack(">BBIBHB", operation, 0, lba, 0, number, 0)
    name, length = command_name(cdb), number * SECTOR
    sectors = tuple(sector_digest(data[i : i + SECTOR]) for i in range(0, len(data), SECTOR))
    return [
        ScsiCommand(0.0, tag, lun, name, cdb, length, operation == READ_10),
        ScsiReply(0.1, tag, name, status, residue, len(data), data[:64], sectors),
    ]


def sector(number: int) -> bytes:
    return PARTITION[number * SECTOR : (number + 1) * SECTOR]


def test_what_was_read_is_found_on_the_partition_wherever_it_was_read() -> None:
    """The drive may have it from a file there: its block is another."""
    seen = said(READ_10, 70, 2, data=sector(1) + sector(6))
    found = got(seen, PARTITION)
    assert [(g.start, g.by.lba) for g in found] == [(1 * SECTOR, 70), (6 * SECTOR, 70)]
    assert str(found[0]) == "bytes 512 to 1023 by READ(10) of block 70"


def test_a_sector_that_was_read_twice_counts_once() -> None:
    seen = said(READ_10, 0, data=sector(0)) + said(READ_10, 9, data=sector(0))
    assert [g.by.lba for g in got(seen, PARTITION)] == [0]


def test_what_came_of_a_command_that_failed_half_way_counts() -> None:
    data = sector(1) + sector(2) + bytes(SECTOR)
    seen = said(READ_10, 1, 3, data=data, status="failed", residue=SECTOR)
    assert [g.start // SECTOR for g in got(seen, PARTITION)] == [1, 2]


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(said(READ_10, 3, data=sector(3)), id="zeros"),
        pytest.param(said(READ_10, 3, data=b"\x09" * SECTOR), id="what is not there"),
        pytest.param(said(READ_10, 0), id="no data"),
        pytest.param(
            said(READ_10, 0, data=sector(0), status="failed", residue=SECTOR), id="padding"
        ),
        pytest.param(said(WRITE_10, 0, data=sector(0)), id="a write"),
        pytest.param(said(READ_10, 0, data=sector(0))[:1], id="no answer"),
        pytest.param(said(READ_10, 0, data=sector(0))[1:], id="no question"),
    ],
)
def test_what_says_nothing_of_the_partition(seen: list[Observation]) -> None:
    assert got(seen, PARTITION) == []


def test_only_writes_that_the_drive_took_are_writes() -> None:
    seen = [
        *said(WRITE_10, 2, 2, lun=1),
        *said(WRITE_10, 4, status="failed"),
        *said(WRITE_10, 5, 0),
        *said(READ_10, 6, data=sector(6)),
    ]
    assert put(seen) == [Moved("WRITE(10)", 1, 2, 2 * SECTOR, 2 * SECTOR)]


def changed(*numbers: int) -> bytes:
    other = bytearray(PARTITION)
    for number in numbers:
        other[number * SECTOR] ^= 0xFF
    return bytes(other)


@pytest.fixture
def write() -> Callable[..., Moved]:
    return lambda lba, number=1, lun=0: Moved("WRITE(10)", lun, lba, lba * SECTOR, number * SECTOR)


def test_nothing_changed() -> None:
    assert changes(PARTITION, PARTITION, [], {0: 0}) == []


def test_each_range_has_the_write_that_went_there(write: Callable[..., Moved]) -> None:
    writes = [write(1), write(5, 2)]
    found = changes(PARTITION, changed(1, 5, 6), writes, {0: 0})
    told = [(c.start // SECTOR, c.length // SECTOR, c.by) for c in found]
    assert told == [(1, 1, writes[0]), (5, 2, writes[1])]
    assert str(found[0]).startswith("bytes 512 to 1023 by WRITE(10) of block 1: 02 02")
    assert "became fd 02" in str(found[0])


def test_the_last_write_counts(write: Callable[..., Moved]) -> None:
    first, second = write(1, 2), write(2)
    (change,) = changes(PARTITION, changed(2), [first, second], {0: 0})
    assert change.by == second


def test_a_drive_that_is_all_of_the_emmc(write: Callable[..., Moved]) -> None:
    """The partition begins at its block 100."""
    (change,) = changes(PARTITION, changed(3), [write(3), write(103)], {0: -100 * SECTOR})
    assert change.by == write(103)


def test_what_no_write_accounts_for(write: Callable[..., Moved]) -> None:
    """Written elsewhere, or to a LUN that is not on the partition."""
    writes = [write(2), write(4), write(3, lun=1)]
    (change,) = changes(PARTITION, changed(3), writes, {0: 0})
    assert change.by is None
    assert "by no WRITE that crossed the cable" in str(change)


def test_far_apart_and_at_the_end(write: Callable[..., Moved]) -> None:
    """Most of it is compared a mebibyte at a time."""
    big = bytes(3 << 20)
    other = bytearray(big)
    other[1 << 20] = other[-1] = 1
    found = changes(big, bytes(other), [], {})
    assert [c.start for c in found] == [1 << 20, (3 << 20) - SECTOR]


def test_another_size() -> None:
    with pytest.raises(ValueError, match="4096 bytes became 3584"):
        changes(PARTITION, PARTITION[:-SECTOR], [], {})
