"""The one place where a firmware tree is written to this machine's disk.

Whatever the source, every name, size and link passes here, and nothing is written through a
link.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DiskFull, FirmwareError, ToolError
from harness.firmware.entries import Entry, Kind, safe_name, safe_target, show

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a tree may be: bytes in all, bytes in one file, names (folders included)."""

    total: int = 512 << 20
    file: int = 256 << 20
    members: int = 50_000

    def too_many(self) -> FirmwareError:
        """The error for a tree with too many names."""
        return FirmwareError(f"it holds more than {self.members} files and folders")

    def too_large(self) -> FirmwareError:
        """The error for a tree with too many bytes."""
        return FirmwareError(f"it is larger than {self.total >> 20} MiB unpacked")


LIMITS = Limits()


def copy_tree(entries: Iterable[Entry], root: Path, limits: Limits = LIMITS) -> None:
    """Make the folder `root` and put `entries` into it.

    Symbolic links are copied as links and never followed. An absolute target, such as
    /data/x, is content: it means something on the device only. A relative target that leads
    out of the tree is refused, for on the device it would not lead to what it leads to here.
    Executables get mode 0755, all else 0644: of a file's mode only that counts.

    Raises FirmwareError when the tree cannot be used, DiskFull, and ToolError when `root`
    cannot be written. What was written so far is left for the caller to remove.
    """
    copy = _Copy(root, limits)
    for entry in entries:
        copy.add(entry)
    copy.make_links()


class _Copy:
    def __init__(self, root: Path, limits: Limits) -> None:
        with _writing(root):
            root.mkdir(parents=True)
        self._root = root
        self._limits = limits
        self._kinds: dict[str, Kind] = {"": Kind.FOLDER}
        self._links: dict[str, str] = {}
        self._left = limits.total

    def add(self, entry: Entry) -> None:
        name = safe_name(entry.name)
        if entry.kind is Kind.FOLDER:
            self._folder(name)
            return
        self._folder(name.rpartition("/")[0])
        self._take(name, entry.kind)
        if entry.kind is Kind.LINK:
            self._links[name] = safe_target(name, entry.target)
        elif entry.kind is Kind.SAME:
            self._same(name, safe_name(entry.target))
        else:
            self._file(name, entry.size, entry.executable, entry.chunks)

    def make_links(self) -> None:
        for name, target in self._links.items():
            if _leads_out(name, self._links):
                raise FirmwareError(
                    f"its link {show(name)} leads out of the tree, to {show(target)}: remove it"
                )
            path = self._root / name
            with _writing(path):
                path.symlink_to(target)

    def _take(self, name: str, kind: Kind) -> None:
        if name in self._kinds:
            raise FirmwareError(f"it holds {show(name or '.')} twice")
        self._kinds[name] = kind
        if len(self._kinds) > self._limits.members:
            raise self._limits.too_many()

    def _folder(self, name: str) -> None:
        # An archive may leave folders out, or name one again.
        parts = name.split("/") if name else []
        for count in range(1, len(parts) + 1):
            folder = "/".join(parts[:count])
            if self._kinds.get(folder) is Kind.FOLDER:
                continue
            self._take(folder, Kind.FOLDER)
            path = self._root / folder
            with _writing(path):
                path.mkdir(mode=0o755)

    def _file(self, name: str, size: int, executable: bool, chunks: Iterable[bytes]) -> None:
        if not 0 <= size <= self._limits.file:
            raise FirmwareError(
                f"its file {show(name)} is larger than {self._limits.file >> 20} MiB"
            )
        if size > self._left:
            raise self._limits.too_large()
        self._left -= size
        path = self._root / name
        with _writing(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(path, flags, 0o600)
        # Unbuffered: what the disk refuses is refused here, not when the file is closed.
        with open(fd, "wb", buffering=0) as file:
            written = 0
            for chunk in chunks:
                written += len(chunk)
                if written > size:
                    break
                with _writing(path):
                    _write_all(file.fileno(), chunk)
            with _writing(path):
                os.fchmod(fd, 0o755 if executable else 0o644)
        if written != size:
            raise FirmwareError(f"its file {show(name)} is not as long as announced: try again")

    def _same(self, name: str, earlier: str) -> None:
        if self._kinds.get(earlier) is not Kind.FILE:
            raise FirmwareError(
                f"its hard link {show(name)} leads to {show(earlier)}, which is no file before it"
            )
        path = self._root / earlier
        state = path.stat()
        self._kinds[name] = Kind.FILE
        self._file(name, state.st_size, bool(state.st_mode & 0o100), _read(path))


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _write_all(fd: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(fd, view) :]


def _leads_out(name: str, links: Mapping[str, str]) -> bool:
    """Whether the relative link `name` climbs out of the tree, through other links if need be."""
    here = name.split("/")[:-1]
    ahead = links[name].split("/")[::-1]
    if links[name].startswith("/"):
        return False
    for _ in range(10_000):
        if not ahead:
            return False
        part = ahead.pop()
        if part == "..":
            if not here:
                return True
            here.pop()
        elif part not in ("", "."):
            target = links.get("/".join([*here, part]))
            if target is None:
                here.append(part)
            elif target.startswith("/"):
                return False
            else:
                ahead.extend(target.split("/")[::-1])
    return False  # links that lead to one another lead nowhere (ELOOP)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is written into the error of whoever must act."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no room to write {show(path)}: free some, or use another") from error
        raise ToolError(f"cannot write {show(path)}: {error.strerror}") from error
