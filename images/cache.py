"""A cache whose entries are named after the content of everything that went into them.

An entry is a folder KEY.RANDOM with a record of what is in it. One that no longer fits its
record (a full disk, a crash, a hand that tidied up) is made again instead of being used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.owner import cache_root, disk, locked

DRAFT = "draft-"
"""How the name of a folder begins that is no entry yet, or no more."""

RECORD = "record.json"
"""The file of an entry that maps the names of its other files to their fingerprints."""

SMALL = 1 << 20
PIECES = 8
PIECE = 4096
"""Bytes. A file up to SMALL is digested whole, of a larger one PIECES of PIECE bytes: looking
at an entry takes milliseconds, a hundredth of what a case takes."""

KEEP = 32
"""Entries of one kind that are kept; the one unused for longest goes first."""

DRAFT_SECONDS = 3600
"""A draft older than this was left behind by a run that was killed."""


def digest(parts: Iterable[bytes | str | Path]) -> str:
    """A key over `parts`, in their order; of a Path the content counts, not the name.

    Raises RigFault when a file cannot be read.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with disk(str(part), "read"), open(part, "rb") as file:
                piece = hashlib.file_digest(file, "sha256").digest()
        else:
            data = part.encode() if isinstance(part, str) else part
            piece = hashlib.sha256(data).digest()
        total.update(piece)
    return total.hexdigest()[:32]


def made(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of the entry `key`, made by `make` when there is none that is as it was made.

    `make` fills an empty folder that becomes the entry only once it is complete. Of several
    runs that want one entry, one makes it and the others wait. Raises what `make` raises, and
    RigFault when the cache cannot be used.
    """
    with disk(f"the cache ({kind})"):
        folder = cache_root() / kind
        folder.mkdir(mode=0o700, exist_ok=True)
    with locked(cache_root() / "locks" / f"{kind}-{key}"):
        entry = found(kind, key)
        if entry is None:
            for damaged in folder.glob(f"{key}.*"):
                _remove(damaged)
            with disk(f"the cache ({kind})"):
                draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=folder))
            try:
                make(draft)
                with disk(f"the cache ({kind})"):
                    _write_record(draft)
                    entry = draft.rename(folder / f"{key}.{draft.name.removeprefix(DRAFT)}")
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        with disk(f"the cache ({kind})"):
            os.utime(entry)
    with disk(f"the cache ({kind})"):
        _prune(folder)
    return entry


def found(kind: str, key: str) -> Path | None:
    """The folder of the entry `key`, or None when there is none that is as it was made.

    A folder's name is never used twice: a run that still has the name of an entry that was
    damaged and made again finds nothing there, never half of the old one and half of the new.
    Raises RigFault when the entry cannot be read.
    """
    with disk(f"the cache ({kind})", "read"):
        return next(filter(_is_whole, (cache_root() / kind).glob(f"{key}.*")), None)


def _fingerprint(path: Path) -> str:
    """Size and digest of a file; of a large one the digest of a few pieces, from end to end.

    The size alone would not do: QEMU fills a memory file that was emptied with zeros, up to
    its old size (system/physmem.c, file_ram_alloc).
    """
    total = hashlib.sha256()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= SMALL:
            total.update(file.read())
        else:
            for number in range(PIECES):
                file.seek((size - PIECE) * number // (PIECES - 1))
                total.update(file.read(PIECE))
    return f"{size} {total.hexdigest()}"


def _write_record(draft: Path) -> None:
    names = (str(p.relative_to(draft)) for p in draft.rglob("*") if p.is_file())
    record = {name: _fingerprint(draft / name) for name in names}
    (draft / RECORD).write_text(json.dumps(record), encoding="utf-8")


def _is_whole(entry: Path) -> bool:
    """Whether all that the record names is there, and unchanged as far as a glance can tell."""
    try:
        record = json.loads((entry / RECORD).read_text(encoding="utf-8"))
        return all(_fingerprint(entry / name) == was for name, was in record.items())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, AttributeError):
        return False  # damaged; what else the system may say is no reason to remove anything


def _remove(entry: Path) -> None:
    """Remove an entry, at once for those who know its name.

    Who has a file of it open keeps that (unlink(2)). Were the folder there for longer than
    its files, QEMU would make the memory file that it misses anew, full of zeros.
    """
    with contextlib.suppress(OSError):  # another run was faster
        shutil.rmtree(entry.rename(entry.with_name(DRAFT + entry.name)), ignore_errors=True)


def _prune(folder: Path) -> None:
    """Remove what was unused for longest."""
    entries: list[tuple[float, Path]] = []
    drafts: list[tuple[float, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another run was faster
            used = path.stat().st_mtime
            (drafts if path.name.startswith(DRAFT) else entries).append((used, path))
    for used, draft in drafts:
        if time.time() - used > DRAFT_SECONDS:
            shutil.rmtree(draft, ignore_errors=True)
    for _, entry in sorted(entries, reverse=True)[KEEP:]:
        _remove(entry)
