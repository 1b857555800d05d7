"""What the host read off the USB drive: the heads, the digests, and the way back to an LBA."""

from __future__ import annotations

import struct

import pytest
from test_capture import HOST, PLUG, Said, cbw, csw, into, out, replies, watched

from harness.cable import conversation
from harness.cable.conversation import KEPT_DATA, KEPT_SECTORS
from harness.cable.scsi import Blocks, read_blocks
from harness.cable.usbredir import BulkPacket, Reset, Status
from harness.observation import (
    SECTOR,
    Observation,
    ScsiCommand,
    ScsiReply,
    sector_digest,
)
from harness.outcome.wire import sector_of


def sector(number: int) -> bytes:
    """A sector like no other."""
    return struct.pack("<I", number) * (SECTOR // 4)


def read10(lba: int, count: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, count, 0)


def read(data: bytes, lba: int, count: int, piece: int = 4096, tag: int = 999) -> list[Said]:
    """READ(10), and its answer in pieces, as a controller splits it into transfers."""
    said = out(1, cbw(tag, read10(lba, count), len(data)))
    for at in range(0, len(data), piece):
        part = data[at : at + piece]
        said += into(2, len(part), part)
    return [*said, *into(3, 13, csw(tag))]


# --- which blocks a command asks for --------------------------------------------------------


@pytest.mark.parametrize(
    ("cdb", "blocks"),
    [
        ("08 1f ff fe 01 00", Blocks(0x1FFFFE, 1)),
        ("08 ff 00 00 00 00", Blocks(0x1F0000, 256)),  # the upper three bits are reserved
        ("28 00 00 01 02 03 00 00 80 00", Blocks(0x010203, 128)),
        ("28 00 00 00 00 00 00 00 00 00", Blocks(0, 0)),
        ("a8 00 80 00 00 01 00 01 00 00 00 00", Blocks(0x80000001, 0x10000)),
        ("88 00 00 00 00 01 00 00 00 02 00 00 00 03 00 00", Blocks(0x1_0000_0002, 3)),
        ("2a 00 00 00 00 00 00 00 01 00", None),
        ("12 00 00 00 24 00", None),
        ("28 00 00", None),
        ("", None),
        ("28" + "00" * 30, Blocks(0, 0)),
    ],
)
def test_what_a_read_asks_for(cdb: str, blocks: Blocks | None) -> None:
    assert read_blocks(bytes.fromhex(cdb)) == blocks


# --- what is kept of the answer -------------------------------------------------------------


@pytest.mark.parametrize("piece", [64, 512, 1000, 2560])
def test_a_read_keeps_its_first_sector_and_all_digests(piece: int) -> None:
    data = b"".join(map(sector, range(5)))
    (reply,) = replies(read(data, 0, 5, piece))
    assert (reply.status, reply.length) == ("passed", 5 * SECTOR)
    assert reply.data == sector(0)
    assert reply.sectors == tuple(sector_digest(sector(n)) for n in range(5))


def test_only_whole_sectors_have_a_digest() -> None:
    said = out(1, cbw(999, read10(0, 2), 1024))
    said += into(2, 1024, sector(0) + sector(1)[:100])
    said += into(3, 13, csw(999, 1, 412))
    (reply,) = replies(said)
    assert (reply.length, reply.sectors) == (612, (sector_digest(sector(0)),))


def test_what_was_read_before_is_not_mixed_in() -> None:
    half = [*out(1, cbw(999, read10(0, 1), 512)), *into(2, 512, sector(7)[:100])]
    for between in ([], [*into(3, 13, csw(999))], [(HOST, Reset())]):
        said: list[Said] = [*half, *between, *read(sector(8), 8, 1)]
        reply = replies(said)[-1]
        assert (reply.data, reply.sectors) == (sector(8), (sector_digest(sector(8)),))


def test_other_commands_keep_little_and_have_no_digests() -> None:
    said = out(1, cbw(999, b"\x5a\0\0\0\0\0\0\x04\0\0", 1024))  # MODE SENSE(10)
    said += [*into(2, 1024, sector(1) * 2), *into(3, 13, csw(999))]
    (reply,) = replies(said)
    assert (reply.data, reply.sectors) == (sector(1)[:KEPT_DATA], ())
    write = BulkPacket(
        id=1,
        endpoint=3,
        length=31,
        data=cbw(999, b"\x2a" + read10(0, 1)[1:], 512, to_host=False),
    )
    (reply,) = replies([(HOST, write), *out(2, sector(1)), *into(3, 13, csw(999))])
    assert (reply.data, reply.sectors) == (sector(1)[:KEPT_DATA], ())


def test_a_long_read_is_counted_on_and_kept_in_part() -> None:
    count = KEPT_SECTORS + 3
    data = b"".join(map(sector, range(count)))
    (reply,) = replies(read(data, 0, count, 1000))
    assert reply.length == len(data)
    assert reply.sectors == tuple(sector_digest(sector(n)) for n in range(KEPT_SECTORS))


def test_heads_are_kept_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "KEPT_READ", 3 * SECTOR + 1)
    said: list[Said] = []
    for n in range(5):
        said += read(sector(n), n, 1)
    kept = replies([*said, (HOST, Reset()), *read(sector(9), 9, 1)])
    assert [len(r.data) for r in kept] == [SECTOR] * 3 + [KEPT_DATA] * 3
    assert all(len(r.sectors) == 1 for r in kept), "the digests take little room"


def test_digests_are_kept_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "KEPT_DIGESTS", 3)
    said: list[Said] = []
    for n in (0, 2, 4):
        said += read(sector(n) + sector(n + 1), n, 2)
    kept = replies(said)
    assert [r.sectors for r in kept] == [
        tuple(map(sector_digest, (sector(0), sector(1)))),
        (sector_digest(sector(2)),),
        (),
    ]
    assert {r.length for r in kept} == {2 * SECTOR}


def test_nonsense_during_a_read_harms_nothing() -> None:
    said = out(1, cbw(999, read10(0, 2), 1024))
    said += [*into(2, 512, sector(0)), *out(4, sector(1)), *into(2, 512, b"", Status.STALL)]
    said += into(3, 13, csw(999, 2))
    (reply,) = replies(said)
    assert (reply.status, reply.data) == ("phase error", sector(0))


# --- from 512 bytes back to their place -----------------------------------------------------


def seen(*said: list[Said]) -> list[Observation]:
    return watched([*PLUG, *(one for some in said for one in some)])


def test_a_sector_is_found_by_its_content() -> None:
    stream = seen(read(sector(100), 100, 1), read(b"".join(map(sector, range(63, 93))), 63, 30))
    for lba in (63, 64, 92, 100):
        assert sector_of(stream, sector(lba)) == lba
    for block in (sector(99), sector(64)[:-1], sector(64) + b"\0", b"", bytes(SECTOR)):
        assert sector_of(stream, block) is None


def test_a_recording_tells_it_too() -> None:
    stream = [Observation.from_json(o.to_json()) for o in seen(read(sector(5), 5, 1))]
    assert sector_of(stream, sector(5)) == 5


def test_what_is_there_twice_is_where_it_was_read_last() -> None:
    stream = seen(read(sector(1), 10, 1), read(sector(1), 30, 1), read(sector(2), 20, 1))
    assert sector_of(stream, sector(1)) == 30


def test_a_block_of_a_cd_holds_four_pieces() -> None:
    stream = seen(read(b"".join(map(sector, range(8))), 17, 2))
    assert [sector_of(stream, sector(n)) for n in range(8)] == [17] * 4 + [18] * 4


def test_a_command_that_is_missing_or_odd() -> None:
    reply = ScsiReply(0.2, 1, "READ(10)", "passed", 0, 512, b"", (sector_digest(sector(1)),))
    assert sector_of([reply], sector(1)) is None

    def command(cdb: bytes, length: int) -> ScsiCommand:
        return ScsiCommand(0.1, 1, 0, "READ(10)", cdb, length, True)

    assert sector_of([command(b"\x12" + bytes(5), 36), reply], sector(1)) is None
    assert sector_of([command(read10(3, 0), 512), reply], sector(1)) == 3
    assert sector_of([command(read10(3, 9), 0), reply], sector(1)) == 3
