"""A cache whose entries are named after the content of everything that went into them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.owner import cache_root, disk, locked

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
            with disk(str(part)), open(part, "rb") as file:
                piece = hashlib.file_digest(file, "sha256").digest()
        else:
            data = part.encode() if isinstance(part, str) else part
            piece = hashlib.sha256(data).digest()
        total.update(piece)
    return total.hexdigest()[:32]


def made(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of the entry `key`, made by `make` when it is not there yet.

    `make` fills an empty folder that becomes the entry only once it is complete. Of several
    runs that want one entry, one makes it and the others wait. Raises what `make` raises.
    """
    folder = cache_root() / kind
    entry = folder / key
    with locked(cache_root() / "locks" / f"{kind}-{key}"):
        if not entry.is_dir():
            with disk(f"the cache ({kind})"):
                folder.mkdir(mode=0o700, exist_ok=True)
                draft = Path(tempfile.mkdtemp(prefix="draft-", dir=folder))
            try:
                make(draft)
                with disk(f"the cache ({kind})"):
                    draft.rename(entry)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        with disk(f"the cache ({kind})"):
            os.utime(entry)
    _prune(folder)
    return entry


def _prune(folder: Path) -> None:
    """Remove what was unused for longest. Who has a file open keeps it (unlink(2))."""
    entries: list[tuple[float, Path]] = []
    drafts: list[tuple[float, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another run was faster
            used = path.stat().st_mtime
            (drafts if path.name.startswith("draft-") else entries).append((used, path))
    dead = [path for used, path in drafts if time.time() - used > DRAFT_SECONDS]
    for path in dead + [path for _, path in sorted(entries, reverse=True)[KEEP:]]:
        shutil.rmtree(path, ignore_errors=True)
