"""Firmware trees that are folders on this machine."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from harness.errors import FirmwareError
from harness.firmware.entries import Entry, Kind, show
from harness.firmware.nanokvm import INIT_SCRIPT_IN_TREE

_CHUNK = 1 << 16


def state_of(path: Path, *, follow: bool = False) -> os.stat_result | None:
    """What is at `path`, None if nothing is. Raises FirmwareError when it cannot be told."""
    try:
        return os.stat(path, follow_symlinks=follow)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return None
        raise _unreadable(path, error) from error
    except ValueError:  # a NUL character, or one that no file name can hold
        return None


def kvmapp_within(folder: Path) -> Path:
    """The folder that is /kvmapp on the device: `folder`/kvmapp in a checkout, or `folder`.

    Raises FirmwareError when neither holds the init script.
    """
    for kvmapp in (folder / "kvmapp", folder):
        if state_of(kvmapp / INIT_SCRIPT_IN_TREE) is None:
            continue
        if kvmapp != folder and kvmapp.is_symlink():
            raise FirmwareError(f"its {show('kvmapp')} is a link: give the folder it leads to")
        return kvmapp
    raise FirmwareError(
        f"no init script: neither kvmapp/{INIT_SCRIPT_IN_TREE} nor {INIT_SCRIPT_IN_TREE} is there"
    )


def folder_entries(root: Path) -> Iterator[Entry]:
    """Everything below `root`, folders before what is in them; links are not followed.

    What is called .git is left out: it is the repository, never the device's. Raises
    FirmwareError for what is neither folder, file nor link, and for what cannot be read.
    """
    ahead = [""]
    while ahead:
        folder = ahead.pop()
        try:
            names = sorted(os.listdir(root / folder))
        except OSError as error:
            raise _unreadable(root / folder, error) from error
        for name in names:
            if name == ".git":
                continue
            entry = _entry(root, f"{folder}/{name}" if folder else name)
            if entry.kind is Kind.FOLDER:
                ahead.append(entry.name)
            yield entry


def digest(root: Path) -> str:
    """SHA-256 over names, executable bits, link targets and bytes of all below `root`.

    Folders count by what is in them only, so that a checkout, its archive and its commit,
    which cannot hold an empty folder, have one digest.
    """
    lines = []
    for entry in folder_entries(root):
        if entry.kind is Kind.LINK:
            kind, content = b"l", hashlib.sha256(os.fsencode(entry.target))
        elif entry.kind is Kind.FILE:
            kind, content = b"x" if entry.executable else b"f", hashlib.sha256()
            for chunk in entry.chunks:
                content.update(chunk)
        else:
            continue
        lines.append(os.fsencode(entry.name) + b"\0" + kind + content.hexdigest().encode() + b"\n")
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()


def _entry(root: Path, name: str) -> Entry:
    path = root / name
    try:
        state = os.lstat(path)
        if stat.S_ISDIR(state.st_mode):
            return Entry(name, Kind.FOLDER)
        if stat.S_ISLNK(state.st_mode):
            return Entry(name, Kind.LINK, target=os.readlink(path))
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(state.st_mode):
        raise FirmwareError(f"it holds {show(name)}, a device, pipe or socket: remove it")
    executable = bool(state.st_mode & 0o100)
    return Entry(name, Kind.FILE, state.st_size, executable, chunks=content(path))


def content(path: Path) -> Iterator[bytes]:
    """What is in a file, piece by piece. Raises FirmwareError when it cannot be read."""
    try:
        # Not through a link, and not waiting for a pipe's other end, should it have changed.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(path, flags), "rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> FirmwareError:
    return FirmwareError(f"{show(path)} cannot be read: {error.strerror}")
