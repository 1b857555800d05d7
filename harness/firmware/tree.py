"""From what the user wrote after --firmware to a private copy of the tree."""

from __future__ import annotations

import difflib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BootgateError, FirmwareError, ToolError
from harness.firmware.archive import archive_entries
from harness.firmware.commit import Commit
from harness.firmware.copying import LIMITS, Limits, copy_tree
from harness.firmware.entries import show
from harness.firmware.folder import digest, folder_entries, kvmapp_within, state_of
from harness.firmware.nanokvm import INIT_SCRIPT_IN_TREE
from harness.firmware.shipped import names, shipped, shipped_entries


@dataclass(frozen=True, slots=True)
class Firmware:
    """A firmware tree, ready to be put into a gadget.

    Its files can be anything, links with absolute targets included (such as /data/x, which
    mean something on the device only): whoever reads them must not follow links.
    """

    spec: str
    """As the user wrote it."""
    kvmapp: Path
    """A private copy of the folder that is /kvmapp on the device."""
    digest: str
    """SHA-256 over names, executable bits, link targets and bytes (`folder.digest`)."""
    commit: str | None = None
    """The git commit it comes from, if known."""
    overlay: Path | None = None
    """A private copy of what is laid over the device's root besides."""
    dirty: bool = False
    """Whether it is other than what that commit holds: changed, or with files of its own."""

    @property
    def without_server(self) -> str:
        """Why no server of its own can be run, or "" when one can."""
        # Here, because what reads programs takes long to load, and few runs ask.
        from harness.firmware.program import why_not

        return why_not(self.kvmapp)

    @property
    def init_script(self) -> Path:
        """The script that builds the gadget, in the copy."""
        return self.kvmapp / INIT_SCRIPT_IN_TREE


def open_firmware(spec: str, workdir: Path, limits: Limits = LIMITS) -> Firmware:
    """Copy the firmware that `spec` names to `workdir`/kvmapp.

    `spec` is, in the order in which it is tried: the name of a tree that ships with the
    project; a path, to a checkout of the sources (with kvmapp/), to a folder that is /kvmapp
    on the device, or to a release archive (.tar.gz) of either; PATH@REF, a commit in the git
    repository at PATH. A name in the current folder that is also a shipped one is ./NAME.
    `workdir` is a folder of the caller's own; it is made when there is none, and must not
    hold kvmapp yet. Nothing is written elsewhere.

    Raises FirmwareError, in one line, for whatever cannot be used; DiskFull; ToolError when
    `workdir` cannot be written or there is no git. On any error the copy is removed.
    """
    kvmapp = workdir / "kvmapp"
    if os.path.lexists(kvmapp):
        raise ToolError(f"{show(kvmapp)} is there already: give each firmware a folder of its own")
    try:
        commit, dirty = _copy(spec, kvmapp, limits)
        _require_init_script(kvmapp)
        return Firmware(spec, kvmapp, digest(kvmapp), commit, dirty=dirty)
    except BaseException as error:
        shutil.rmtree(kvmapp, ignore_errors=True)
        if isinstance(error, FirmwareError):
            raise FirmwareError(f"firmware {show(spec)}: {error}") from error
        raise


def _copy(spec: str, kvmapp: Path, limits: Limits) -> tuple[str | None, bool]:
    """Make the copy, and say which commit it is from and whether it differs from that."""
    if spec in names():
        copy_tree(shipped_entries(spec), kvmapp, limits)
        return None, False
    path = Path(spec)
    state = state_of(path, follow=True) if spec else None
    if state is None:
        folder, ref = _split(spec)
        commit = Commit.named(folder, ref)
        with closing(commit.entries()) as entries:
            copy_tree(entries, kvmapp, limits)
        return commit.id, False
    if not stat.S_ISDIR(state.st_mode):
        if not stat.S_ISREG(state.st_mode):
            raise FirmwareError("it is neither a folder nor an archive")
        with closing(archive_entries(path, limits)) as entries:
            copy_tree(entries, kvmapp, limits)
        return None, False
    source = kvmapp_within(path)
    if kvmapp.resolve().is_relative_to(source.resolve()):
        raise FirmwareError(f"the working folder {show(kvmapp)} lies within it")
    copy_tree(folder_entries(source), kvmapp, limits)
    return _origin(source, kvmapp)


def _origin(source: Path, kvmapp: Path) -> tuple[str | None, bool]:
    """The commit that a work tree stands on, as far as git knows it."""
    try:
        commit = Commit.named(source, "HEAD")
        return commit.id, commit.differs_from(kvmapp)
    except BootgateError:
        # No repository, none that git trusts, no commit that holds this tree, or no git: the
        # folder can be used all the same, and its digest says what it was.
        return None, False


def _split(spec: str) -> tuple[Path, str]:
    """PATH and REF of "PATH@REF", both of which may hold an @ of their own."""
    for path, ref in _splits(spec):
        state = state_of(Path(path), follow=True)
        if state is not None and stat.S_ISDIR(state.st_mode):
            return Path(path), ref
    close = difflib.get_close_matches(spec, names(), 1)
    hint = f"did you mean {show(close[0])}? " if close else ""
    raise FirmwareError(
        f"no such name and no such path: {hint}{', '.join(shipped())} ship with the project"
    )


def _splits(spec: str) -> Iterator[tuple[str, str]]:
    end = len(spec)
    while (end := spec.rfind("@", 1, end)) > 0:
        yield spec[:end], spec[end + 1 :]


def _require_init_script(kvmapp: Path) -> None:
    """The rig reads this one file, so no link may lead elsewhere on the way to it."""
    script = Path(os.path.realpath(kvmapp / INIT_SCRIPT_IN_TREE))
    if not script.is_relative_to(os.path.realpath(kvmapp)):
        raise FirmwareError(f"its init script {INIT_SCRIPT_IN_TREE} is a link that leads out of it")
    if not script.is_file():
        raise FirmwareError(f"its init script {INIT_SCRIPT_IN_TREE} is not a file")
