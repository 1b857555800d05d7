"""Firmware trees that are commits in a git repository, read without running anything of it.

`git archive` and `git checkout` run what a repository's attributes and configuration name:
smudge filters, export-subst, hooks, tar commands. The commands used here (rev-parse, ls-tree,
cat-file --batch) print objects as they are stored. They use no index, so no file system
monitor is asked either; the repository and its work tree are not touched.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.errors import FirmwareError, ToolError
from harness.firmware.entries import Entry, Kind, show
from harness.firmware.folder import folder_entries
from harness.firmware.nanokvm import INIT_SCRIPT_IN_TREE

_CHUNK = 1 << 16
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Object:
    """A line of ls-tree; `mode` is one of git's: 100644, 100755, 120000, 160000."""

    name: str
    mode: str
    id: str
    size: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The folder that is /kvmapp on the device, in a commit of the repository at `folder`."""

    folder: Path
    id: str
    kvmapp: str
    """That folder's name in the commit, with a slash at its end; empty for the top."""

    @classmethod
    def named(cls, folder: Path, ref: str) -> Commit:
        """The commit that `ref` names in the repository that `folder` is in.

        Raises FirmwareError when `folder` is in none, git does not trust it, `ref` names no
        commit or the commit holds no init script; ToolError when there is no git.
        """
        if not ref or ref.startswith("-"):
            raise FirmwareError(f"{show(ref)} cannot be a git revision: give one after the '@'")
        prefix = _git(folder, "rev-parse", "--show-prefix")
        if prefix.returncode != 0:
            raise _refusal(folder, prefix.stderr)
        found = _git(folder, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
        if found.returncode != 0:
            raise FirmwareError(f"git knows no commit {show(ref)} in {show(folder)}")
        commit = found.stdout.decode("ascii", "replace").strip()
        above = os.fsdecode(prefix.stdout.removesuffix(b"\n"))
        for kvmapp in (f"{above}kvmapp/", above):
            script = _git(folder, "cat-file", "-e", f"{commit}:{kvmapp}{INIT_SCRIPT_IN_TREE}")
            if script.returncode == 0:
                return cls(folder, commit, kvmapp)
        raise FirmwareError(
            f"no init script: neither kvmapp/{INIT_SCRIPT_IN_TREE} nor {INIT_SCRIPT_IN_TREE} "
            f"is in that commit"
        )

    def entries(self) -> Generator[Entry, None, None]:
        """Everything below that folder. A submodule, whose content git has elsewhere, is empty.

        Raises FirmwareError when the repository does not hold all of it.
        """
        command = _command(self.folder, "cat-file", "--batch")
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_environment(),
        ) as git:
            assert git.stdin is not None
            assert git.stdout is not None
            try:
                for found in self._objects():
                    if found.mode == "160000":
                        yield Entry(found.name, Kind.FOLDER)
                        continue
                    chunks = _read(git.stdin, git.stdout, found)
                    if found.mode == "120000":
                        target = os.fsdecode(b"".join(chunks))
                        yield Entry(found.name, Kind.LINK, target=target)
                    else:
                        executable = found.mode == "100755"
                        yield Entry(found.name, Kind.FILE, found.size, executable, chunks=chunks)
            finally:
                git.kill()

    def differs_from(self, kvmapp: Path) -> bool:
        """Whether the files below the folder `kvmapp` are other than the commit's, byte for byte.

        `git status` would run filters and write the index, and would not see ignored files.
        """
        committed = {o.name: (o.mode, o.id) for o in self._objects() if o.mode != "160000"}
        algorithm = "sha1" if len(self.id) == 40 else "sha256"
        copied = {}
        for entry in folder_entries(kvmapp):
            if entry.kind is Kind.LINK:
                content, mode = [os.fsencode(entry.target)], "120000"
            elif entry.kind is Kind.FILE:
                content, mode = list(entry.chunks), "100755" if entry.executable else "100644"
            else:
                continue
            blob = hashlib.new(algorithm, b"blob %d\0" % sum(map(len, content)))
            for chunk in content:
                blob.update(chunk)
            copied[entry.name] = (mode, blob.hexdigest())
        return copied != committed

    def _objects(self) -> list[_Object]:
        tree = f"{self.id}:{self.kvmapp.removesuffix('/')}"
        listing = _git(self.folder, "ls-tree", "-r", "-z", "-l", "--full-tree", tree)
        if listing.returncode != 0:
            raise FirmwareError(f"git cannot list its files: {_last_line(listing.stderr)}")
        objects = []
        for line in listing.stdout.split(b"\0")[:-1]:
            # "MODE TYPE ID SIZE\tNAME" (git-ls-tree, "Output format")
            facts, _, name = line.partition(b"\t")
            mode, _, object_id, size = facts.decode("ascii").split()
            # Before 2005 git wrote 100664 as well.
            mode = "100644" if mode == "100664" else mode
            if size == "BAD":  # what git writes for an object that it has not got
                raise _incomplete(os.fsdecode(name))
            objects.append(
                _Object(os.fsdecode(name), mode, object_id, 0 if size == "-" else int(size))
            )
        return objects


def _read(stdin: IO[bytes], stdout: IO[bytes], wanted: _Object) -> Iterator[bytes]:
    # One question, one answer: "ID TYPE SIZE\n", content, "\n" (git-cat-file, "Batch output").
    try:
        stdin.write(wanted.id.encode("ascii") + b"\n")
    except OSError as error:
        raise _incomplete(wanted.name) from error
    if stdout.readline().split() != [wanted.id.encode(), b"blob", str(wanted.size).encode()]:
        raise _incomplete(wanted.name)
    left = wanted.size
    while left:
        chunk = stdout.read(min(left, _CHUNK))
        if not chunk:
            raise _incomplete(wanted.name)
        left -= len(chunk)
        yield chunk
    stdout.read(1)


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = _command(folder, *arguments)
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(),
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolError("git is not installed: install it, or give a folder") from error
    except subprocess.TimeoutExpired as error:
        raise FirmwareError(f"git did not answer in {_SECONDS:g} s in {show(folder)}") from error
    except (OSError, ValueError) as error:
        raise FirmwareError(f"git cannot be asked in {show(folder)}: {error}") from error


def _command(folder: Path, *arguments: str) -> list[str]:
    return ["git", "-C", os.fspath(folder.absolute()), "--no-pager", *arguments]


def _environment() -> dict[str, str]:
    # Variables such as GIT_DIR would lead git elsewhere. GIT_CONFIG_* and HOME are how a user
    # says which repositories to trust (safe.directory).
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG_")
    }
    return kept | {
        "LC_ALL": "C",
        # An object that a partial clone has not got would be fetched, by a command that the
        # repository names. Older versions of git know the second variable only.
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        # A commit's id stands for its content.
        "GIT_NO_REPLACE_OBJECTS": "1",
    }


def _incomplete(name: str) -> FirmwareError:
    return FirmwareError(f"git cannot read {show(name)}: the repository is not complete")


def _refusal(folder: Path, complaint: bytes) -> FirmwareError:
    if b"dubious ownership" in complaint:
        return FirmwareError(
            f"git refuses {show(folder)}, which belongs to another user: add it to git's "
            f"safe.directory, or give the folder without '@'"
        )
    if b"not a git repository" in complaint:
        return FirmwareError(f"{show(folder)} is no git repository")
    return FirmwareError(f"git refuses {show(folder)}: {_last_line(complaint)}")


def _last_line(complaint: bytes) -> str:
    return show((complaint.decode("utf-8", "replace").strip().splitlines() or ["no reason"])[-1])
