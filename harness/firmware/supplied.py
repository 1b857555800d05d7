"""What the user brings along with a firmware tree: the built server, and files of the device's."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from harness.errors import FirmwareError, UsageError
from harness.firmware.copying import LIMITS, Limits, copy_tree
from harness.firmware.entries import Entry, Kind, show
from harness.firmware.folder import content, digest, folder_entries, state_of
from harness.firmware.nanokvm import SERVER_IN_TREE
from harness.firmware.program import libraries, machine_of
from harness.firmware.tree import Firmware

NO_LINKS = ("boot/", "data/")
"""Where the device has vfat and exFAT."""

KVMAPP, OVERLAY = "kvmapp", "overlay"
"""Folders of the copy: what is /kvmapp on the device, and what is laid over its root."""


OVERLAY_BYTES = 24 << 20
"""Files outside of kvmapp take up the gadget VM's memory, of which 128 MiB there are."""


def supplied(
    firmware: Firmware,
    workdir: Path,
    *,
    server: Path | None,
    overlay: Path | None,
    limits: Limits = LIMITS,
) -> Firmware:
    """`firmware` with the user's `server` in it, and the files of `overlay`.

    `server` is an executable for the gadget VM; it takes the place of the tree's own, and the
    shared libraries that it needs come along, from `overlay` or from this machine. `overlay` is a
    folder that is laid over the device's root: what lies in its kvmapp over the tree, all else
    over the VM's own files. Everything is copied to `workdir`, a folder that is not there yet, and
    nothing of it is run here.

    Raises UsageError for what cannot be used, FirmwareError likewise, DiskFull.
    """
    if server is None and overlay is None:
        return firmware
    entries = {f"{KVMAPP}/{e.name}": e for e in folder_entries(firmware.kvmapp)}
    if overlay is not None:
        entries |= {_place(e.name): e for e in _overlay_entries(overlay)}
    if server is not None:
        entries |= _server_entries(server, overlay)
    beside = sum(entry.size for name, entry in entries.items() if name.startswith(f"{OVERLAY}/"))
    if beside > OVERLAY_BYTES:
        raise UsageError(
            f"--server and --overlay lay {beside >> 20} MiB over the device's root, which has room "
            f"for {OVERLAY_BYTES >> 20}: put what is large below kvmapp"
        )
    moved = (dataclasses.replace(entry, name=name) for name, entry in entries.items())
    try:
        copy_tree(moved, workdir, limits)
    except FirmwareError as error:
        raise FirmwareError(f"what --server and --overlay bring: {error}") from error
    return dataclasses.replace(
        firmware,
        kvmapp=workdir / KVMAPP,
        dirty=firmware.dirty or firmware.commit is not None,
        overlay=workdir / OVERLAY if (workdir / OVERLAY).is_dir() else None,
        digest=digest(workdir),
    )


def _place(name: str) -> str:
    inside = name == KVMAPP or name.startswith(f"{KVMAPP}/")
    return name if inside else f"{OVERLAY}/{name}"


def _overlay_entries(overlay: Path) -> Iterator[Entry]:
    try:
        state = state_of(overlay, follow=True)
        if state is None or not overlay.is_dir():
            raise UsageError(f"--overlay {show(overlay)}: there is no such folder")
        for entry in folder_entries(overlay):
            if entry.kind is Kind.LINK and entry.name.startswith(NO_LINKS):
                raise UsageError(
                    f"--overlay {show(overlay)}: {show(entry.name)} is a link, and the file "
                    "system that is there on the device has none"
                )
            yield entry
    except FirmwareError as error:
        raise UsageError(f"--overlay {show(overlay)}: {error}") from error


def _server_entries(server: Path, overlay: Path | None) -> dict[str, Entry]:
    """The server in its place, and its libraries."""
    if not server.is_file():
        raise UsageError(f"--server {show(server)}: there is no such file")
    if not os.access(server, os.X_OK):
        raise UsageError(f"--server {show(server)}: it is not executable")
    if why := machine_of(server):
        raise UsageError(f"--server {show(server)}: {why}")
    found = {f"{KVMAPP}/{SERVER_IN_TREE}": _file(server)}
    for place, library in libraries(server, overlay).items():
        found[f"{OVERLAY}/{place}"] = _file(library)
    return found


def _file(path: Path) -> Entry:
    """An entry for the content of a file, which may be a link; its name is yet to be given."""
    whole = path.resolve()
    return Entry("", Kind.FILE, whole.stat().st_size, executable=True, chunks=content(whole))
