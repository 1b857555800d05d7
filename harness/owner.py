"""One owner for everything a run leaves lying about: its files and its processes.

Files: a run has one private folder (mode 0700) inside the cache, locked for as long as the
run lives. The folder goes away with the run; when the run was killed, the next one finds
the lock free and sweeps the folder up.

Processes: each is started so that the kernel kills it when its parent dies
(prctl(2) PR_SET_PDEATHSIG), however the parent dies. A chain of such processes falls from
its top without anybody having to clean up.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

import psutil

from harness.errors import DiskFull, RigFault, ToolError

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# setpriv sets the death signal and then becomes the shell, which becomes the program. The
# shell is there for one question: prctl(2) sends nothing when the parent was dead already.
_ORPHANS_END = '[ "$PPID" = "$1" ] || exit 1; shift; exec "$@"'


@contextlib.contextmanager
def disk(what: str, verb: str = "write") -> Iterator[None]:
    """Turn an OSError on our own files into a `RigFault`: "cannot VERB WHAT: ...".

    Raises `DiskFull` when there is no room (ENOSPC, EDQUOT), else `RigFault`.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            place = printable(str(error.filename or "open file"))
            raise DiskFull(
                f"no room left on the disk for {what} ({place}): "
                "free some, or name another folder with --report or BOOTGATE_CACHE"
            ) from error
        raise RigFault(f"cannot {verb} {what}: {error}") from error


def cache_root() -> Path:
    """The folder for everything that can be made again: BOOTGATE_CACHE or the XDG place.

    Raises RigFault when it cannot be made.
    """
    named = os.environ.get("BOOTGATE_CACHE")
    if named:
        root = Path(named).absolute()
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        root = Path(base).absolute() / "bootgate"
    with disk("the cache folder"):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return root


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, waiting for whoever holds it."""
    with disk("a lock file"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = open(path, "a")  # noqa: SIM115 (closed below, with the lock)
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def stoppable() -> Iterator[list[int]]:
    """Within, a signal ends all processes of the run at once, then unwinds this one.

    Yields a list that holds the signal's number afterwards. The workers are killed, not
    asked: what they started dies with them (harness/owner.py), and their files are ours.
    A signal that is ignored already, as SIGHUP is under nohup(1), stays so.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        first = not received
        received.append(number)
        for child in psutil.Process().children():
            child.kill()
        if first:
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class RunFolder:
    """The private folder of one run. Use as a context manager."""

    def __init__(self) -> None:
        """Sweep up after dead runs, then make a folder of our own.

        Raises DiskFull or RigFault.
        """
        runs = cache_root() / "runs"
        with disk("the run folder"):
            runs.mkdir(mode=0o700, exist_ok=True)
            # A folder is born with its lock held, or a run that starts at this very moment
            # would take it for a dead one's.
            with locked(cache_root() / "runs.lock"):
                _sweep(runs)
                self.path = Path(tempfile.mkdtemp(prefix="run-", dir=runs))
                self._lock: IO[bytes] = open(self.path / "lock", "wb")  # noqa: SIM115
                fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __enter__(self) -> RunFolder:
        """The folder itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder."""
        self.close()

    def close(self) -> None:
        """Remove the folder. May be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _sweep(runs: Path) -> None:
    for folder in runs.iterdir():
        try:
            with open(folder / "lock", "rb") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        except OSError:
            pass
        shutil.rmtree(folder, ignore_errors=True)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent`, its parent's pid, is no more."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def find_tool(name: str, package: str) -> str:
    """The full path of a program. Raises ToolError that names the Debian package.

    The system's sbin folders are looked at too: an ordinary user's PATH often lacks them.
    """
    path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin" + os.pathsep + "/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        raise ToolError(f"{name} is not installed: run ci/bootstrap, or install package {package}")
    return found


def spawn(
    argv: Sequence[str], *, stderr: IO[bytes], pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a program that cannot outlive this process.

    Call it from the main thread only: the kernel takes the end of the calling *thread* for
    the parent's death (prctl(2)). Raises ToolError when it cannot be started.
    """
    guard = [find_tool("setpriv", "util-linux"), "--pdeathsig", "KILL", "/bin/sh", "-c"]
    try:
        return subprocess.Popen(
            [*guard, _ORPHANS_END, "sh", str(os.getpid()), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=pass_fds,
            # A Ctrl-C at the terminal is for us, who know what belongs together.
            process_group=0,
        )
    except OSError as error:
        raise ToolError(f"cannot start {argv[0]}: {error}") from error


def run_tool(
    argv: Sequence[str], *, package: str, cwd: Path | None = None, given: bytes | None = None
) -> bytes:
    """Run a helper program to its end and return what it wrote to standard output.

    `given` is what it reads from standard input.

    Raises ToolError when it is missing or fails, DiskFull when that was the cause.
    """
    program = find_tool(argv[0], package)
    # In English: we look for the words of ENOSPC.
    env = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            input=given,
            capture_output=True,
            cwd=cwd,
            env=env,
            check=False,
        )
    except OSError as error:
        raise ToolError(f"cannot start {argv[0]}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        why = said[-1] if said else "it said nothing"
        if os.strerror(errno.ENOSPC) in why:
            raise DiskFull(
                f"no room left on the disk while {argv[0]} was writing: {printable(why)}"
            )
        raise ToolError(f"{argv[0]} failed (status {done.returncode}): {printable(why)}")
    return done.stdout


def escaped_lines(text: str) -> str:
    """`text` with all control characters but line feeds and tabs escaped."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def printable(text: str, limit: int = 300) -> str:
    """`text` with control characters escaped and cut at `limit`: fit for a terminal."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= limit else shown[:limit] + "..."
