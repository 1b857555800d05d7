"""What a firmware tree is made of, wherever it was read from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from harness.errors import FirmwareError

LONGEST_NAME = 1024
"""Bytes in a name, folders included. Linux takes 4096; the folder it is put in needs some."""

LONGEST_PART = 255
"""Bytes between two slashes (NAME_MAX of Linux)."""


class Kind(Enum):
    """What an entry is. Nothing else can be in a tree."""

    FOLDER = "folder"
    FILE = "file"
    LINK = "link"
    SAME = "same"
    """A further name of a file that came before (a hard link in an archive)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a tree.

    `name` is relative to the folder that is /kvmapp on the device, parts joined by slashes.
    `size` in bytes, `executable` and `chunks` (the content) belong to a FILE; chunks can be
    taken once, before the next entry is asked for. `target` belongs to a LINK (as it is
    written there) and to SAME (the earlier entry's name).
    """

    name: str
    kind: Kind
    size: int = 0
    executable: bool = False
    target: str = ""
    chunks: Iterable[bytes] = ()


def show(text: str | os.PathLike[str]) -> str:
    """`text` in quotes for a one-line message: control characters escaped, not too long."""
    plain = os.fspath(text)
    return repr(plain if len(plain) <= 200 else plain[:200] + "...")


def safe_name(name: str) -> str:
    """`name` without "." parts and needless slashes; empty for the tree's own folder.

    Raises FirmwareError for a name that could end up outside the tree, or nowhere.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/"):
        raise FirmwareError(f"it holds the absolute name {show(name)}: pack it without")
    if ".." in parts:
        raise FirmwareError(f"it holds {show(name)}, which leaves the tree by '..'")
    sizes = [len(_encoded(part)) for part in parts]
    if max(sizes, default=0) > LONGEST_PART or sum(sizes) + len(sizes) > LONGEST_NAME:
        raise FirmwareError(f"it holds a name that is too long: {show(name)}")
    return "/".join(parts)


def safe_target(link: str, target: str) -> str:
    """`target` of the symbolic link `link`, if a file system can hold it.

    Raises FirmwareError otherwise. Where it leads is judged once the tree is known.
    """
    if not 0 < len(_encoded(target)) <= LONGEST_NAME:
        raise FirmwareError(f"its link {show(link)} has no target, or one that is too long")
    return target


def _encoded(text: str) -> bytes:
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        raise FirmwareError(f"it holds a name that cannot be written: {show(text)}") from None
    if b"\0" in encoded:
        raise FirmwareError(f"it holds a name with a NUL character in it: {show(text)}")
    return encoded
