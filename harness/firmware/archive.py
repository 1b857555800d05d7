"""Firmware trees that are release archives: tar, compressed with gzip, one root folder."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from tarfile import EOFHeaderError  # type: ignore[attr-defined]  # not in the type stubs
from typing import IO, Any, BinaryIO

from harness.errors import FirmwareError
from harness.firmware.copying import Limits
from harness.firmware.entries import Entry, Kind, safe_name, show
from harness.firmware.nanokvm import INIT_SCRIPT_IN_TREE

_CHUNK = 1 << 16

_HEADER_ROOM = 1 << 20
"""Bytes that the headers between two members may take: tarfile holds them in memory."""


def archive_entries(path: Path, limits: Limits) -> Generator[Entry, None, None]:
    """What is below the folder that is /kvmapp on the device, in the archive `path`.

    That folder is the archive's root folder (a release, nanokvm_VERSION/), or kvmapp in it
    (a packed checkout). The archive is read twice as a stream: which of the two it is can be
    told at its end only, and nothing is unpacked that will not be used.

    Raises FirmwareError for anything that is not such an archive, all of it sound: names that
    lead elsewhere, devices and pipes, and more than `limits` allows are refused wherever
    they are in it.
    """
    with _open(path) as file:
        kvmapp = _kvmapp_within(file, limits)
        file.seek(0)
        for tar, member, name in _members(file, limits):
            if not name.startswith(kvmapp):
                continue
            entry = _entry(tar, member, name.removeprefix(kvmapp), kvmapp)
            if entry is not None:
                yield entry


def _open(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
        magic = file.read(2)
        file.seek(0)
    except OSError as error:
        raise FirmwareError(f"cannot be read: {error.strerror}") from error
    if magic != b"\x1f\x8b":  # RFC 1952, 2.3.1
        file.close()
        raise FirmwareError("it is neither a folder nor a .tar.gz archive")
    return file


def _kvmapp_within(file: BinaryIO, limits: Limits) -> str:
    names = {name for _, _, name in _members(file, limits) if name}
    roots = {name.partition("/")[0] for name in names}
    if len(roots) != 1:
        raise FirmwareError(
            f"the archive holds {len(roots)} things at its top; a release has one root folder"
        )
    root = roots.pop()
    for kvmapp in (f"{root}/kvmapp/", f"{root}/"):
        if kvmapp + INIT_SCRIPT_IN_TREE in names:
            return kvmapp
    raise FirmwareError(
        f"no init script: neither kvmapp/{INIT_SCRIPT_IN_TREE} nor {INIT_SCRIPT_IN_TREE} "
        f"is in its root folder {show(root)}"
    )


def _members(
    file: BinaryIO, limits: Limits
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, str]]:
    """Every member with its safe name, to the archive's very end."""
    stream = _Stream(file, limits)
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictInfo) as tar:  # type: ignore[call-overload]
            for count, member in enumerate(tar, 1):
                # Before tarfile skips that much, block after block, past the end if need be.
                if not 0 <= member.size <= limits.total:
                    raise limits.too_large()
                stream.expect(member.size + _HEADER_ROOM)
                if count > limits.members:
                    raise limits.too_many()
                if not (member.isdir() or member.isreg() or member.issym() or member.islnk()):
                    raise FirmwareError(
                        f"it holds {show(member.name)}, which is no file, folder or link"
                    )
                yield tar, member, safe_name(member.name)
        stream.drain()
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise _broken(error) from error


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, kvmapp: str) -> Entry | None:
    if not name:
        return None
    if member.isdir():
        return Entry(name, Kind.FOLDER)
    if member.issym():
        return Entry(name, Kind.LINK, target=member.linkname)
    if member.islnk():
        target = safe_name(member.linkname)
        if not target.startswith(kvmapp):
            raise FirmwareError(f"its hard link {show(name)} leads out of it, to {show(target)}")
        return Entry(name, Kind.SAME, target=target.removeprefix(kvmapp))
    executable = bool(member.mode & 0o100)
    return Entry(name, Kind.FILE, member.size, executable, chunks=_read(tar, member))


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    try:
        file: IO[bytes] | None = tar.extractfile(member)
        while file is not None and (chunk := file.read(_CHUNK)):
            yield chunk
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise _broken(error) from error


class _StrictInfo(tarfile.TarInfo):
    """A header that must be sound: tarfile takes a broken one for the archive's end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Any:
        """The next header. Raises ReadError when there is none and the end was not marked."""
        return _next_header(super().fromtarfile, tarfile)


def _next_header(read: Any, tar: tarfile.TarFile) -> tarfile.TarInfo:
    try:
        header: tarfile.TarInfo = read(tar)
    except EOFHeaderError:  # the block of zeros that marks the end (POSIX pax, "ustar")
        raise
    except tarfile.HeaderError as error:
        raise tarfile.ReadError(str(error)) from error
    return header


class _Stream:
    """The unpacked bytes, for tarfile to read once from front to end, counted."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._unpacked = gzip.GzipFile(fileobj=file, mode="rb")
        self._limits = limits
        self._left = limits.total
        self._expected = _HEADER_ROOM

    def expect(self, size: int) -> None:
        """At most `size` bytes are to come before the next member."""
        self._expected = size

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end. Raises FirmwareError."""
        try:
            data = self._unpacked.read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise _broken(error) from error
        self._left -= len(data)
        self._expected -= len(data)
        if self._left < 0:
            raise self._limits.too_large()
        if self._expected < 0:
            raise FirmwareError(f"it has a header of more than {_HEADER_ROOM >> 20} MiB")
        return data

    def drain(self) -> None:
        """Read what is left, so that gzip compares its checksum (RFC 1952, 2.3.1)."""
        self._expected = self._left + 1
        while self.read(_CHUNK):
            pass


def _broken(error: Exception) -> FirmwareError:
    return FirmwareError(f"the archive is broken ({error}): get it again")
