"""A QEMU process: started, spoken to over QMP, and gone with its owner.

qemu.qmp is asynchronous; one event loop in a background thread runs all of it, and every
call here blocks until its answer or its deadline. All channels (QMP, debug console, cable)
are socket pairs that QEMU inherits: nothing is named in the file system, nothing listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, QMPError, Runstate

from harness.deadline import Deadline
from harness.errors import QemuError
from harness.owner import disk, find_tool, printable, spawn

T = TypeVar("T")

PROGRAM = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
ANSWER_SECONDS = 10.0
"""How long a QMP command may take. They take milliseconds; a machine under load, more."""

_COMMON = (
    *("-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg"),
    # What runs inside is untrusted: a QEMU that it got out of finds nothing to start.
    *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
)


class _Loop:
    """The one asyncio loop of this process, in a daemon thread."""

    _lock = threading.Lock()
    _loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def run(cls, work: Coroutine[Any, Any, T], seconds: float) -> T:
        with cls._lock:
            if cls._loop is None:
                cls._loop = asyncio.new_event_loop()
                threading.Thread(target=cls._loop.run_forever, name="qmp", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, cls._loop).result(seconds)


def version() -> str:
    """QEMU's version, such as "7.2.22". Raises ToolError or QemuError."""
    program = find_tool(PROGRAM, PACKAGE)
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise QemuError(f"{program} does not run: {error}") from error
    words = said.stdout.split()
    if said.returncode != 0 or "version" not in words:
        raise QemuError(
            f"{program} does not run: {printable(said.stderr.strip()) or 'it said nothing'}; "
            f"reinstall package {PACKAGE}"
        )
    return words[words.index("version") + 1]


def escaped(path: Path) -> str:
    """A file name as QEMU's option syntax wants it: commas doubled."""
    return str(path).replace(",", ",,")


def starved(process: int, thread: int | None = None) -> float:
    """Seconds for which one of its threads could run and had no core, the longest of all.

    Or that of one `thread`.

    Linux, Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat: the second number,
    in nanoseconds. 0 on a kernel that does not count it, or when the process is gone.
    """
    waited = [0.0]
    for stat in Path(f"/proc/{process}/task").glob(f"{thread or '*'}/schedstat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            waited.append(int(stat.read_text().split()[1]) / 1e9)
    return max(waited)


class Qemu:
    """One QEMU process. `close` it; a context manager does."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        folder: Path,
        channels: Sequence[str] = (),
        tight: Sequence[str] = (),
        inherit: Sequence[int] = (),
        on_event: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        """Start QEMU; it answers QMP when this returns.

        `channels` become chardevs of those ids, whose other ends are `channel(id)`. Of those that
        are `tight` as little as possible, some bytes, can wait to be read. `inherit`
        are open files that it gets under their numbers.
        `on_event` is called from another thread with each QMP event's name and data.
        Raises ToolError when there is no QEMU, QemuError when it does not start.
        """
        self.name = name
        self.arguments = tuple(arguments)
        self._channels: dict[str, socket.socket] = {}
        self._on_event = on_event
        self._client = QMPClient(name)
        self._stderr = folder / f"{name}.qemu.stderr"
        inherited: list[socket.socket] = []
        argv = [find_tool(PROGRAM, PACKAGE), *_COMMON]
        try:
            for chardev in ("qmp", *channels):
                ours, theirs = self._pair(chardev)
                self._channels[chardev] = ours
                inherited.append(theirs)
                if chardev in tight:
                    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
                argv += ["-chardev", f"socket,id={chardev},fd={theirs.fileno()}"]
            argv += ["-mon", "chardev=qmp,mode=control"]
            argv += arguments
            with disk("QEMU's error log"), open(self._stderr, "wb") as stderr:
                self.process = spawn(
                    argv,
                    stderr=stderr,
                    pass_fds=[*(end.fileno() for end in inherited), *inherit],
                )
        except BaseException:
            for end in self._channels.values():
                end.close()
            raise
        finally:
            for end in inherited:
                end.close()
        try:
            self._run(self._connect(), Deadline.after(20, f"{name}'s QEMU to answer"))
        except BaseException:
            self.close()
            raise

    def _pair(self, channel: str) -> tuple[socket.socket, socket.socket]:
        """Our end of a channel, and QEMU's."""
        return socket.socketpair()

    async def _connect(self) -> None:
        listener = EventListener()
        self._client.register_listener(listener)
        self._events = listener
        self._listening = asyncio.ensure_future(self._listen(listener))
        await self._client.connect(self._channels["qmp"])

    async def _listen(self, listener: EventListener) -> None:
        async for event in listener:
            if self._on_event is not None:
                self._on_event(str(event["event"]), _data(event))

    def _run(self, work: Coroutine[Any, Any, T], deadline: Deadline) -> T:
        try:
            return _Loop.run(work, deadline.remaining())
        except ExecuteError as error:
            raise QemuError(f"{self.name}'s QEMU refused a command: {error}") from error
        except FutureTimeout as error:
            raise deadline.failure() from error
        except (QMPError, EOFError, OSError) as error:
            raise self.failure() from error

    def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        deadline: Deadline | None = None,
    ) -> Any:
        """Run a QMP command and return its answer.

        Raises QemuError when QEMU refuses it or is gone, DeadlineExpired.
        """
        limit = deadline or Deadline.after(
            ANSWER_SECONDS, f"{self.name}'s QEMU to answer {command}"
        )
        return self._run(self._client.execute(command, dict(arguments or {})), limit)

    def lend(self, name: str, fd: int) -> None:
        """Hand QEMU a copy of `fd`, which its commands then know as "fd:NAME".

        Raises as `execute` does.
        """

        async def send() -> None:
            # The descriptor rides on a byte of its own, in front of the command that names it.
            self._client.send_fd_scm(fd)
            await self._client.execute("getfd", {"fdname": name})

        self._run(send(), Deadline.after(ANSWER_SECONDS, f"{self.name}'s QEMU to take {name}"))

    def monitor(self, command: str) -> str:
        """What a command of the human monitor prints. Raises as `execute` does."""
        return str(self.execute("human-monitor-command", {"command-line": command}))

    def channel(self, name: str) -> socket.socket:
        """Our end of a channel. Whoever takes it owns and closes it."""
        return self._channels.pop(name)

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self.process.poll() is None

    def starved(self, thread: int | None = None) -> float:
        """As the function of that name says of its process."""
        return starved(self.process.pid, thread)

    def wait_ended(self, seconds: float) -> bool:
        """Wait until the process has ended and `on_event` has been told of all it said.

        Whether that came about within `seconds`.
        """
        deadline = Deadline.after(seconds, f"{self.name}'s QEMU to end")
        try:
            self.process.wait(timeout=deadline.remaining())
            _Loop.run(self._heard_out(), deadline.remaining())
        except (subprocess.TimeoutExpired, FutureTimeout):
            return False
        return True

    async def _heard_out(self) -> None:
        # The client leaves "running" when it has read its socket to the end.
        while self._client.runstate == Runstate.RUNNING:
            await self._client.runstate_changed()
        while not (self._events.empty() or self._listening.done()):
            await asyncio.sleep(0)

    def refusal(self, said: str) -> QemuError:
        """An error for a command of the human monitor, which says what is wrong as a text."""
        return QemuError(f"{self.name}'s QEMU refused a command: {printable(said)}")

    def failure(self) -> QemuError:
        """An error that tells how QEMU ended and what it said last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=1)
        said = ""
        with contextlib.suppress(OSError):
            lines = self._stderr.read_text(errors="replace").strip().splitlines()
            said = lines[-1] if lines else ""
        status = self.process.returncode
        ended = "closed its QMP connection" if status is None else f"ended with status {status}"
        return QemuError(f"{self.name}'s QEMU {ended}: {printable(said) or 'it said nothing'}")

    def close(self) -> None:
        """Kill the process and close what is left of the channels. May be called twice."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with contextlib.suppress(QMPError, EOFError, OSError, FutureTimeout):
            _Loop.run(self._disconnect(), 5)
        for end in self._channels.values():
            end.close()
        self._channels.clear()

    async def _disconnect(self) -> None:
        self._listening.cancel()
        await self._client.disconnect()

    def __enter__(self) -> Qemu:
        """The process itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def _data(event: Message) -> dict[str, Any]:
    data = event.get("data", {}) if isinstance(event, Mapping) else {}
    return dict(data) if isinstance(data, Mapping) else {}
