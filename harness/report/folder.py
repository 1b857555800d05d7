"""The folder of a report: results.json, junit.xml and cases/CASE/... with the evidence.

The folder is the user's. Only an empty one, or one that an earlier run made, is written to.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from harness.errors import DiskFull, ReportFolderError, RigFault
from harness.owner import disk, printable

RESULTS = "results.json"
JUNIT = "junit.xml"
CASES = "cases"

UNFINISHED = ".bootgate-unfinished"
"""Here from `prepare` until results.json is whole. A killed run leaves it behind: so the next
run knows the folder for Bootgate's own, although it holds no results.json."""

# Ids of this form keep their words. No two of them give one folder name, not even on a file
# system that takes A for a: only the first word may have capitals, and then it ends in digits.
# Nor does one give the name of a device of DOS (Windows: "Naming Files, Paths, and Namespaces").
_PLAIN_ID = re.compile(r"(?!(?:con|prn|aux|nul)/)(?:[A-Z]+-[0-9]+|[a-z_]+)(?:/[a-z0-9_-]+)+")
_LONGEST_NAME = 100
"""Characters. File systems allow 255 bytes; the evidence below needs room in PATH_MAX too."""


class ReportFolder:
    """One report's folder. Paths are absolute.

    The process that runs the suite calls `prepare`, and `finished` through `write_results`;
    its workers only ask for case folders.
    """

    def __init__(self, path: Path | str) -> None:
        """`path` need not exist; nothing is touched before `prepare`."""
        self.path = Path(path).absolute()
        self._held: int | None = None

    def prepare(self) -> None:
        """Make the folder, or empty it of an earlier report, and see that it can be written.

        Raises ReportFolderError when the folder is something else's, another run's or cannot
        be written, DiskFull when there is no room. What is not an earlier report's stays.
        """
        name = printable(str(self.path))
        try:
            with disk(f"the report folder {name}"):
                if self.path.exists() and not self.path.is_dir():
                    raise ReportFolderError(
                        f"the report folder {name} is a file: name another with --report"
                    )
                self.path.mkdir(parents=True, exist_ok=True)
                if any(self.path.iterdir()) and not self._is_ours():
                    raise ReportFolderError(
                        f"the report folder {name} holds files that are not an earlier report: "
                        "empty it, or name another with --report"
                    )
                # Written first: it proves that the folder can be written before anything of
                # the earlier report is gone. (Asking access(2) would not: root may do all.)
                self._mark_unfinished()
                for old in (RESULTS, JUNIT, CASES):
                    _remove(self.path / old)
        except DiskFull:
            raise
        except RigFault as fault:
            raise ReportFolderError(
                f"{printable(str(fault), 600)}: name another folder with --report"
            ) from fault

    def _is_ours(self) -> bool:
        if (self.path / UNFINISHED).is_file():
            return True
        try:
            results = json.loads((self.path / RESULTS).read_bytes())
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(results, dict) and isinstance(results.get("schema"), int)

    def _mark_unfinished(self) -> None:
        # No file object: one whose flush failed raises again when it is closed.
        lock = os.open(self.path / UNFINISHED, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            _lock(lock, self.path)
            os.write(
                lock, b"A Bootgate run is under way, or was killed: the report is not whole.\n"
            )
        except BaseException:
            os.close(lock)
            raise
        self._held = lock

    def finished(self) -> None:
        """Say that the report is whole. May be called twice."""
        with disk("the report"):
            (self.path / UNFINISHED).unlink(missing_ok=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def case_folder(self, case_id: str) -> Path:
        """The folder for the evidence of a case, made if missing.

        Two ids never share a folder, whatever is in them, and none leads out of cases/.
        Raises DiskFull or RigFault.
        """
        path = self.path / CASES / _folder_name(case_id)
        with disk("the evidence"):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def relative(self, path: Path) -> str:
        """`path` as results.json names it: relative to this folder, with slashes.

        Raises ValueError for a path that is not in this folder.
        """
        return path.resolve().relative_to(self.path.resolve()).as_posix()

    def write(self, name: str, content: bytes) -> Path:
        """Put a file into the folder, whole or not at all. Raises DiskFull or RigFault."""
        path, part = self.path / name, self.path / f".{name}.part"
        with disk(f"the report's {name}"):
            part.unlink(missing_ok=True)
            try:
                with open(part, "xb") as file:
                    file.write(content)
                    file.flush()
                    # rename(2) may reach the disk before the content does.
                    os.fsync(file.fileno())
                part.replace(path)
            except OSError:
                part.unlink(missing_ok=True)
                raise
        return path


def _lock(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ReportFolderError(
            f"another run is writing its report to {printable(str(folder))}: "
            "wait for its end, or name another folder with --report"
        ) from None
    except OSError:
        pass  # A file system without locks: two runs at once go unnoticed there.


def _folder_name(case_id: str) -> str:
    """A name made of letters, digits, "_", "-", and "." for the slashes of a plain id."""
    if _PLAIN_ID.fullmatch(case_id) and len(case_id) <= _LONGEST_NAME:
        return case_id.replace("/", ".")
    digest = hashlib.sha256(case_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    words = re.sub(r"[^A-Za-z0-9]+", "_", case_id)[: _LONGEST_NAME - 20].strip("_")
    return f"{words or 'case'}-{digest}"


def _remove(path: Path) -> None:
    """Remove a file, a folder, or a link but not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
