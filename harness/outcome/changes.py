"""What a host got of the device's data, what it changed there, and by which command. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.cable.scsi import read_blocks, written_blocks
from harness.observation import SECTOR, Observation, ScsiCommand, ScsiReply, sector_digest

_STEP = 1 << 20
"""Bytes that are compared at a time: most of a partition is as it was."""

SHOWN = 16
"""Bytes of a changed range that are shown, as they were and as they are."""


@dataclass(frozen=True)
class Moved:
    """A command that moved data of a medium.

    Which, of which LUN, and in bytes of the medium where that begins and how long it is.
    """

    name: str
    lun: int
    lba: int
    start: int
    length: int

    def __str__(self) -> str:
        """Such as "WRITE(10) of block 8"."""
        of = f" of LUN {self.lun}" if self.lun else ""
        return f"{self.name} of block {self.lba}{of}"


@dataclass(frozen=True)
class Got:
    """A sector of the partition that a host was given: where it begins there, and by what."""

    start: int
    by: Moved

    def __str__(self) -> str:
        """Such as "bytes 0 to 511 by READ(10) of block 0"."""
        return f"bytes {self.start} to {self.start + SECTOR - 1} by {self.by}"


@dataclass(frozen=True)
class Change:
    """Bytes from `start` on that are others now, up to SHOWN of them; `by` whom, None if unknown.

    Offsets are in bytes from the beginning of the partition; whole sectors.
    """

    start: int
    length: int
    before: bytes
    after: bytes
    by: Moved | None

    def __str__(self) -> str:
        """Such as "bytes 0 to 511 by WRITE(10) of block 0: eb 76 became a5 a5"."""
        who = f"by {self.by}" if self.by else "by no WRITE that crossed the cable"
        was, now = self.before.hex(" "), self.after.hex(" ")
        return f"bytes {self.start} to {self.start + self.length - 1} {who}: {was} became {now}"


def got(stream: Sequence[Observation], partition: bytes) -> list[Got]:
    """What of a partition the host was given by READs, wherever the drive has it from.

    Each sector once. One that holds the same bytes as another counts for the first of them; one
    of zeros is like any other medium's, and says nothing.
    """
    read = [(c, _given(c, r)) for c, r in _answered(stream) if read_blocks(c.cdb)]
    if not any(sectors for _, sectors in read):
        return []
    places = _places(partition)
    found: dict[int, Got] = {}
    for command, sectors in read:
        for digest in sectors:
            if (start := places.get(digest)) is not None and (moved := _moved(command)):
                found.setdefault(start, Got(start, moved))
    return list(found.values())


def _given(command: ScsiCommand, reply: ScsiReply) -> tuple[str, ...]:
    """The sectors that count: of a command that failed, what is no padding (BOT 6.7.2)."""
    if reply.status == "passed":
        return reply.sectors
    return reply.sectors[: max(0, command.length - reply.residue) // SECTOR]


def _places(partition: bytes) -> dict[str, int]:
    """Where each kind of sector is first, by its digest."""
    zeros = bytes(SECTOR)
    places: dict[str, int] = {}
    for at in range(0, len(partition), SECTOR):
        sector = partition[at : at + SECTOR]
        if sector != zeros:
            places.setdefault(sector_digest(sector), at)
    return places


def put(stream: Sequence[Observation]) -> list[Moved]:
    """The WRITEs that a drive took."""
    taken = (command for command, reply in _answered(stream) if reply.status == "passed")
    written = (command for command in taken if written_blocks(command.cdb))
    return [moved for command in written if (moved := _moved(command))]


def _moved(command: ScsiCommand) -> Moved | None:
    blocks = read_blocks(command.cdb) or written_blocks(command.cdb)
    if blocks is None or not blocks.number:
        return None
    size = command.length // blocks.number
    return Moved(command.name, command.lun, blocks.lba, blocks.lba * size, command.length)


def _answered(stream: Sequence[Observation]) -> Iterator[tuple[ScsiCommand, ScsiReply]]:
    commands: dict[int, ScsiCommand] = {}
    for seen in stream:
        if isinstance(seen, ScsiCommand):
            commands[seen.tag] = seen
        elif isinstance(seen, ScsiReply) and seen.tag in commands:
            yield commands.pop(seen.tag), seen


def changes(
    before: bytes, after: bytes, writes: Sequence[Moved], offsets: Mapping[int, int]
) -> list[Change]:
    """Where a partition differs, each range with the last write that went there.

    `offsets` says of a LUN where in the partition its first byte lies; what is written to another
    accounts for nothing. Raises ValueError when the sizes differ.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} bytes became {len(after)}")
    placed = [(w, w.start + offsets[w.lun]) for w in writes if w.lun in offsets]
    found: list[Change] = []
    for at in _differing(before, after):
        by = next(
            (w for w, start in reversed(placed) if start < at + SECTOR and at < start + w.length),
            None,
        )
        last = found[-1] if found else None
        if last and last.start + last.length == at and last.by == by:
            found[-1] = Change(last.start, last.length + SECTOR, last.before, last.after, by)
        else:
            shown = slice(at, at + SHOWN)
            found.append(Change(at, SECTOR, before[shown], after[shown], by))
    return found


def _differing(before: bytes, after: bytes) -> Iterator[int]:
    """Where the sectors begin that differ."""
    for step in range(0, len(before), _STEP):
        if before[step : step + _STEP] == after[step : step + _STEP]:
            continue
        for at in range(step, min(step + _STEP, len(before)), SECTOR):
            if before[at : at + SECTOR] != after[at : at + SECTOR]:
                yield at
