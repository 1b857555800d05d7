"""The console: a real shell on a real pty, behind a line that can be noisy, slow and cut."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.console import LINE_LIMIT, Console, _Log
from harness.deadline import Deadline
from harness.errors import ConsoleError, DeadlineExpired, RigFault, ShellEnded

NOISE = b"[   12.345678] usb 1-1: new high-speed USB device\r\n"


class SerialLine:
    """A shell with its own terminal, which echoes, and a serial line to it.

    `device` is our end's name. What the shell prints passes through a thread here, as it
    passes through a UART.
    """

    def __init__(self, shell: tuple[str, ...] = ("/bin/sh", "-i"), prompt: str = "# ") -> None:
        self._far, slave = pty.openpty()
        self._near, self._ours = pty.openpty()
        self.device = os.ttyname(self._ours)
        attributes = termios.tcgetattr(self._ours)
        attributes[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(self._ours, termios.TCSANOW, attributes)
        environment = {"PATH": os.environ["PATH"], "PS1": prompt, "PS2": "> "}
        self._process = subprocess.Popen(
            shell, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self._stop, self._stopping = os.pipe()
        self._pump = threading.Thread(target=self._carry, daemon=True)
        self._pump.start()

    def _carry(self) -> None:
        """Carry both directions until `cut`; then hang up.

        The thread that reads a terminal has to be the one that closes it: a read under way
        would keep it open.
        """
        other = {self._far: self._near, self._near: self._far}
        with contextlib.suppress(OSError):
            while self._stop not in (ready := select.select([*other, self._stop], [], [])[0]):
                for end in ready:
                    os.write(other[end], os.read(end, 4096))
        for end in (*other, self._ours, self._stop):
            os.close(end)

    def say(self, data: bytes) -> None:
        """Print something that the shell did not, as a kernel does."""
        os.write(self._near, data)

    def cut(self) -> None:
        """Take the far end away."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):  # It has hung up by itself: the shell ended.
            os.write(self._stopping, b"x")
        self._pump.join(10)


@pytest.fixture
def line() -> Iterator[SerialLine]:
    line = SerialLine()
    yield line
    line.cut()


@pytest.fixture
def console(line: SerialLine, tmp_path: Path) -> Iterator[Console]:
    console = Console(line.device, tmp_path / "console.log")
    yield console
    console.close()


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline.after(seconds, "the shell to answer")


def test_output_and_status(console: Console, tmp_path: Path) -> None:
    answer = console.run("echo one; echo two", soon())
    assert (answer.status, answer.text) == (0, "one\ntwo\n")
    assert console.run("printf three", soon()).text == "three"
    assert console.run("true", soon()).text == ""
    assert "three" in (tmp_path / "console.log").read_text()


@pytest.mark.parametrize("status", [0, 1, 77, 255])
def test_status_codes(console: Console, status: int) -> None:
    assert console.run(f"(exit {status})", soon()).status == status


def test_check_wants_success(console: Console) -> None:
    assert console.check("echo fine", soon()) == "fine\n"
    with pytest.raises(ConsoleError, match=r"ended with status 3: no\\x1b\\nway"):
        console.check(r"printf 'no\033\nway\n'; (exit 3)", soon())


def test_control_characters_are_escaped_in_the_log(console: Console, tmp_path: Path) -> None:
    assert console.run(r"printf '\033[2J\007'", soon()).text == "\x1b[2J\x07"
    console.close()
    log = (tmp_path / "console.log").read_bytes()
    assert rb"\x1b[2J\x07" in log
    assert not [byte for byte in log if byte != 0x0A and (byte < 0x20 or byte == 0x7F)]
    assert rb"\r" not in log, "the CR of a line's end was taken for one of the firmware's"


def test_a_line_end_that_was_read_in_two_parts(tmp_path: Path) -> None:
    log = _Log(tmp_path / "log")
    for text in ("one\r", "\ntwo\rthree\r"):
        log.write(text)
    log.close()
    log.close()
    assert (tmp_path / "log").read_text() == "one\ntwo\\rthree\\r"


def test_the_echo_is_never_taken_for_output(
    line: SerialLine, console: Console, tmp_path: Path
) -> None:
    # The terminal echoes all that is typed; a prompt stands before it.
    answer = console.run("sleep 0.05; echo typed | tr a-z A-Z", soon())
    assert answer.text == "TYPED\n"
    log = (tmp_path / "console.log").read_text()
    assert "echo typed" in log, "nothing was echoed: the test has no echo to confuse"
    assert console.run("echo 'BOOTGATE- END-3 0'; (exit 5)", soon()).status == 5


def test_a_shell_that_was_ended_answers_no_more(line: SerialLine, tmp_path: Path) -> None:
    console = Console(line.device, tmp_path / "log", anew="ANOTHER-SHELL")
    try:
        line.say(b"ANOTHER-SHELL\r\n")
        assert console.run("echo a", soon()).text == "a\n", "it was that one which answered"
        began = time.monotonic()
        threading.Timer(0.3, line.say, [b"ANOTHER-SHELL\r\n"]).start()
        with pytest.raises(ShellEnded, match="was ended; there is another now"):
            console.run("sleep 5", soon())
        assert time.monotonic() - began < 4
    finally:
        console.close()


def test_a_shell_that_was_ended_with_its_command_unread(line: SerialLine, tmp_path: Path) -> None:
    console = Console(line.device, tmp_path / "log", anew="ANOTHER-SHELL")
    try:
        with pytest.raises(DeadlineExpired, match="the shell to answer"):
            console.run("sleep 8", soon(0.2))
        # What is typed now waits in the terminal, and is lost with it.
        line.say(b"ANOTHER-SHELL\r\n")
        with pytest.raises(ShellEnded):
            console.run("echo a", soon(0.2))
    finally:
        console.close()


def test_who_waits_asks_whether_that_is_of_any_use(line: SerialLine, tmp_path: Path) -> None:
    asked: list[float] = []

    def check() -> None:
        asked.append(time.monotonic())
        if len(asked) == 3:
            raise RigFault("the machine is gone")

    console = Console(line.device, tmp_path / "log", check=check)
    try:
        assert console.run("sleep 1.5; echo a", soon()).text == "a\n"
        assert len(asked) == 1
        with pytest.raises(RigFault, match="the machine is gone"):
            console.run("sleep 8", soon())
    finally:
        console.close()


def test_a_shell_without_echo_and_prompt(tmp_path: Path) -> None:
    line = SerialLine(("/bin/sh", "-c", "stty -echo; exec sh"), prompt="")
    console = Console(line.device, tmp_path / "log")
    try:
        assert console.run("echo a", soon()).text == "a\n"
        assert console.run("(exit 4)", soon()).status == 4
    finally:
        console.close()
        line.cut()


def test_multiline_output_quotes_and_comments(console: Console) -> None:
    assert console.run("seq 300", soon()).text == "".join(f"{n}\n" for n in range(1, 301))
    assert console.run("echo \"a 'b'\" # comment", soon()).text == "a 'b'\n"
    assert console.run("cat </dev/null", soon()).status == 0
    assert console.run("printf '\\377\\303\\251\\n'", soon()).text == "\ufffd\u00e9\n"


def test_kernel_noise_between_the_lines(line: SerialLine, console: Console) -> None:
    line.say(NOISE)
    assert console.run("echo a", soon()).text == "a\n"
    noise = threading.Timer(0.1, lambda: line.say(NOISE))
    noise.start()
    answer = console.run("sleep 0.3; echo b; (exit 2)", soon())
    assert answer.status == 2
    assert answer.text == NOISE.decode().replace("\r\n", "\n") + "b\n"


def test_waiting_for_a_word(line: SerialLine, console: Console) -> None:
    line.say(b"booting...\r\nREADY (a+b)\r\n")
    console.wait_for("READY (a+b)", soon())
    with pytest.raises(DeadlineExpired, match=r"waited 0\.05 s in vain for the shell to answer"):
        console.wait_for("READY", soon(0.05))


def test_a_command_that_never_ends_and_what_comes_after(console: Console, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    started = time.monotonic()
    with pytest.raises(DeadlineExpired, match="the shell to answer"):
        console.run("sleep 0.4; echo late; (exit 9)", soon(0.1))
    assert time.monotonic() - started < 5
    # Its late end is not taken for the next command's, nor is a late beginning.
    answer = console.run("echo mine", soon())
    assert (answer.status, answer.text) == (0, "mine\n")
    with pytest.raises(DeadlineExpired):
        console.run(f"read word <{gate}", soon(0.1))
    with pytest.raises(DeadlineExpired):
        console.run("echo late; (exit 9)", soon(0))  # begins when the other has ended
    gate.write_text("go\n")
    answer = console.run("echo mine", soon())
    assert (answer.status, answer.text) == (0, "mine\n")


def test_a_line_that_is_cut_while_a_command_runs(line: SerialLine, console: Console) -> None:
    console.check("true", soon())
    cutter = threading.Timer(0.2, line.cut)
    cutter.start()
    with pytest.raises(ConsoleError, match=r"the console /dev/pts/\d+ is dead"):
        console.run("sleep 30", soon(15))
    cutter.join()
    with pytest.raises(ConsoleError, match="is dead"):
        console.run("true", soon(5))


def test_a_device_that_is_none(tmp_path: Path) -> None:
    for device in (tmp_path / "gone", tmp_path):
        with pytest.raises(ConsoleError, match="cannot open the console"):
            Console(str(device), tmp_path / "log")
    with pytest.raises(RigFault, match="console log"):
        Console("/dev/ptmx", tmp_path / "no folder" / "log")


def test_a_line_has_one_owner(line: SerialLine, console: Console, tmp_path: Path) -> None:
    with pytest.raises(ConsoleError, match="cannot open the console"):
        Console(line.device, tmp_path / "another.log")


def test_too_long_a_command_is_refused_before_it_is_typed(console: Console) -> None:
    with pytest.raises(ValueError, match="too long for a terminal"):
        console.run("echo " + "x" * LINE_LIMIT, soon())
    text = "x" * 3800
    assert console.run(f"echo {text}", soon()).text == f"{text}\n"
    assert console.run(f"echo {text};\necho {text}", soon()).text == f"{text}\n{text}\n"


def test_closing_twice(console: Console) -> None:
    console.close()
    console.close()


# --- deadlines ------------------------------------------------------------------------------


def test_an_inner_deadline_never_outlives_the_outer_one() -> None:
    outer = Deadline.after(5, "outer")
    assert outer.inner(60, "inner").expires == outer.expires
    shorter = outer.inner(1, "inner")
    assert shorter.expires < outer.expires
    assert 0 < shorter.remaining() <= 1
    assert shorter.what == "inner"


def test_a_deadline_expires_once_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("harness.deadline.time.monotonic", lambda: now[0])
    deadline = Deadline.after(2.5, "the host to answer")
    now[0] += 2.25
    assert deadline.remaining() == 0.25
    assert not deadline.expired
    deadline.check()
    now[0] += 0.25
    assert deadline.expired
    now[0] += 10
    assert deadline.remaining() == 0.0
    with pytest.raises(DeadlineExpired, match=r"waited 2\.5 s in vain for the host to answer"):
        deadline.check()
