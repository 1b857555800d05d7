"""A shell on a serial line, driven by programs.

pyserial owns the line (a pty of QEMU's, or the UART of a real device), pexpect reads it.
Nothing is assumed of the shell but that it is one: it may print a prompt, echo what is
typed, and the kernel may write in between.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import serial
from pexpect.fdpexpect import fdspawn

from harness.deadline import Deadline
from harness.errors import ConsoleError, ShellEnded
from harness.owner import disk, escaped_lines, printable

LOOK_SECONDS = 1.0
"""How often it is asked whether waiting is of any use."""

LINE_LIMIT = 4000
"""A terminal in canonical mode takes 4095 characters a line (linux/tty.h, N_TTY_BUF_SIZE)."""


class _Log:
    """The file for what was read from a serial line, with control characters escaped."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "a", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._end = ""

    def write(self, text: str) -> None:
        """Write what was read. A terminal ends lines with CR LF, which reads may part."""
        text = self._end + text
        self._end = "\r" if text.endswith("\r") else ""
        self._file.write(escaped_lines(text.removesuffix("\r").replace("\r\n", "\n")))

    def flush(self) -> None:
        """Put what was written into the file (pexpect calls it)."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left. May be called twice."""
        if not self._file.closed:
            self._file.write(escaped_lines(self._end))
        self._file.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit status."""

    status: int
    text: str


class Console:
    """The shell behind a serial line."""

    def __init__(
        self,
        device: str,
        log: Path,
        baud: int = 115200,
        *,
        anew: str = "",
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Open `device`; everything that is read from it goes to the file `log` too.

        There control characters are escaped: whoever reads the log in a terminal is safe from
        what the firmware printed. `anew` is what the machine prints when the shell was ended
        and it starts another. `check` is called every LOOK_SECONDS of waiting, and raises when
        the machine cannot answer any more.

        Raises ConsoleError when it cannot be opened, DiskFull.
        """
        self._device = device
        self._anew = re.escape(anew) if anew else ""
        self._check = check
        self._count = itertools.count(1)
        with disk("the console log"):
            self._log = _Log(log)
        try:
            self._port = serial.Serial(device, baud, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            self._log.close()
            raise ConsoleError(f"cannot open the console {device}: {error}") from error
        self._shell = fdspawn(self._port, encoding="utf-8", codec_errors="replace")
        self._shell.logfile_read = self._log
        self._shell.delaybeforesend = None

    def wait_for(self, text: str, deadline: Deadline) -> None:
        """Return once `text` was printed. Raises DeadlineExpired, ConsoleError."""
        self._expect(re.escape(text), deadline)

    def run(self, command: str, deadline: Deadline) -> Answer:
        """Run one command line and wait for its end.

        Raises ConsoleError when the line is dead, ShellEnded, DeadlineExpired when the command
        has not ended in time (it may be running still), and what `check` raises.
        """
        number = next(self._count)
        # The words are glued together by printf, so that an echo of the command line is
        # never taken for its output.
        line = (
            f"printf '\\n%s%s\\n' BOOTGATE- BEGIN-{number}; {{ {command}\n}}; "
            f"printf '\\n%s%s %s\\n' BOOTGATE- END-{number} $?\n"
        )
        if max(map(len, line.encode().split(b"\n"))) > LINE_LIMIT:
            raise ValueError(f"command line too long for a terminal: {command[:60]!r}...")
        try:
            self._shell.send(line)
        except OSError as error:
            raise self._dead(error) from error
        self._expect(rf"BOOTGATE-BEGIN-{number}\r?\n", deadline)
        # Before that another shell may have been started for all that is known, to run this.
        ended = self._expect(rf"\r?\nBOOTGATE-END-{number} (\d+)\r?\n", deadline, self._anew)
        return Answer(int(ended[1]), str(self._shell.before).replace("\r\n", "\n"))

    def check(self, command: str, deadline: Deadline) -> str:
        """Run a command that must succeed; return what it printed.

        Raises ConsoleError when its status is not 0, and as `run` does.
        """
        answer = self.run(command, deadline)
        if answer.status != 0:
            raise ConsoleError(
                f"on {self._device}, {command!r} ended with status {answer.status}: "
                f"{printable(answer.text.strip())}"
            )
        return answer.text

    def _expect(self, pattern: str, deadline: Deadline, ended: str = "") -> re.Match[str]:
        """Wait for `pattern`, unless `ended` comes first."""
        patterns: list[Any] = [pattern, ended] if ended else [pattern]
        while True:
            try:
                seconds = min(LOOK_SECONDS, deadline.remaining())
                found = self._shell.expect(patterns, timeout=seconds)
            except pexpect.TIMEOUT as error:
                if deadline.expired:
                    # One that was ended with its command unread: nobody will read that any more.
                    if self._anew and re.search(self._anew, str(self._shell.before)):
                        raise self._ended() from error
                    raise deadline.failure() from error
                self._check()
                continue
            except (pexpect.EOF, OSError) as error:
                raise self._dead(error) from error
            if found:
                raise self._ended()
            match = self._shell.match
            assert isinstance(match, re.Match)
            return match

    def _dead(self, error: Exception) -> ConsoleError:
        return ConsoleError(
            f"the console {self._device} is dead ({type(error).__name__}): the machine behind "
            "it is gone or its line was cut"
        )

    def _ended(self) -> ShellEnded:
        return ShellEnded(f"the shell on {self._device} was ended; there is another now")

    def close(self) -> None:
        """Close line and log. May be called twice."""
        self._port.close()
        self._log.close()
