"""Nothing is left lying about: run folders, processes, and errors of our own files."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import owner
from harness.errors import DiskFull, RigFault, ToolError
from harness.owner import (
    RunFolder,
    cache_root,
    disk,
    escaped_lines,
    find_tool,
    locked,
    printable,
    run_tool,
    spawn,
)

CHECKOUT = Path(owner.__file__).parents[1]
HOSTILE = "\x1b[31m\x00\r\x9b2J\u202e\u2028\udc80\x7f"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("BOOTGATE_CACHE", str(path))
    return path


def python(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# --- the cache folder -----------------------------------------------------------------------


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTGATE_CACHE", str(tmp_path / "named" / "deep"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "named" / "deep"
    assert cache_root().stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("BOOTGATE_CACHE", "")
    assert cache_root() == tmp_path / "xdg" / "bootgate"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "home" / ".cache" / "bootgate"
    monkeypatch.setenv("BOOTGATE_CACHE", "relative")
    monkeypatch.chdir(tmp_path)
    assert cache_root() == tmp_path / "relative"


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BOOTGATE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(RigFault, match="the cache folder"):
        cache_root()


def test_a_lock_is_held_until_its_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with locked(path), open(path) as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(path) as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- run folders ----------------------------------------------------------------------------


def test_a_run_folder_goes_with_its_run() -> None:
    with RunFolder() as folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700
        (folder.path / "deep").mkdir()
        (folder.path / "deep" / "file").touch()
    assert not folder.path.exists()
    folder.close()


def test_a_killed_runs_folder_is_swept_a_living_ones_is_not(root: Path) -> None:
    script = (
        "import time; from harness.owner import RunFolder\n"
        "folder = RunFolder(); (folder.path / 'left').touch()\n"
        "print(folder.path, flush=True); time.sleep(60)"
    )
    with python(script) as killed, python(script) as living:
        try:
            dead, alive = (Path(first_line(p)) for p in (killed, living))
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            assert (dead / "left").exists()
            with RunFolder() as ours:
                assert not dead.exists()
                assert (alive / "left").exists()
                assert {p.name for p in (root / "runs").iterdir()} == {alive.name, ours.path.name}
        finally:
            living.kill()
            killed.kill()
    # One that was killed before it had its lock.
    (root / "runs" / "run-half").mkdir()
    with RunFolder() as ours:
        assert list((root / "runs").iterdir()) == [ours.path]


def test_runs_that_start_at_once_do_not_sweep_each_other() -> None:
    script = (
        "from harness.owner import RunFolder\n"
        "folders = [RunFolder() for _ in range(40)]\n"
        "print(sum(f.path.is_dir() for f in folders))\n"
    )
    processes = [python(script) for _ in range(3)]
    assert [p.communicate(timeout=30)[0] for p in processes] == ["40\n"] * 3


# --- processes ------------------------------------------------------------------------------


def test_a_chain_of_processes_falls_from_its_top(tmp_path: Path) -> None:
    middle = (
        "import sys, time; from harness.owner import spawn\n"
        "leaf = spawn(['sleep', '60'], stderr=sys.stderr.buffer)\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(str(leaf.pid) + '\\n')\n"
        "time.sleep(60)"
    )
    top = (
        "import sys, time; from harness.owner import spawn\n"
        f"middle = spawn([sys.executable, '-c', {middle!r}], stderr=sys.stderr.buffer)\n"
        "print(middle.pid, flush=True); time.sleep(60)"
    )
    with python(top) as process:
        try:
            pids = tmp_path / "pids"
            assert eventually(lambda: pids.exists() and pids.read_text().endswith("\n"))
            # The leaf arms its death signal before it becomes what it is to run.
            leaf = psutil.Process(int(pids.read_text()))
            assert eventually(lambda: leaf.name() == "sleep")
            family = [psutil.Process(int(first_line(process))), leaf]
            assert all(p.is_running() for p in family)
        finally:
            process.send_signal(signal.SIGKILL)

    def gone(one: psutil.Process) -> bool:
        try:
            return not one.is_running() or one.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    assert eventually(lambda: all(map(gone, family)))


def test_a_process_whose_parent_is_not_ours_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the parent had died before the death signal was armed: PPID is another's then.
    monkeypatch.setattr("harness.owner.os.getpid", lambda: 1)
    with open(tmp_path / "stderr", "wb") as stderr:
        process = spawn(["touch", str(tmp_path / "ran")], stderr=stderr)
    assert process.wait(timeout=10) == 1
    assert not (tmp_path / "ran").exists()


def test_a_spawned_process_gets_its_arguments_and_files_as_they_are(tmp_path: Path) -> None:
    words = ["a b", "$HOME", "'\"", "", "*"]
    reading, writing = os.pipe()
    with open(tmp_path / "stderr", "wb") as stderr:
        process = spawn(
            ["sh", "-c", f'printf "%s|" "$@" >/dev/fd/{writing}; echo said >&2', "sh", *words],
            stderr=stderr,
            pass_fds=[writing],
        )
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read().decode() == "".join(f"{w}|" for w in words)
    assert process.wait(timeout=10) == 0
    assert (tmp_path / "stderr").read_text() == "said\n"


def test_a_ctrl_c_at_the_terminal_is_for_us_alone(tmp_path: Path) -> None:
    with open(tmp_path / "stderr", "wb") as stderr:
        process = spawn(["sleep", "60"], stderr=stderr)
    try:
        assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    finally:
        process.kill()
        process.wait()


def test_die_with_parent_when_the_parent_is_dead_already() -> None:
    script = (
        "import os; from harness.owner import die_with_parent\n"
        "die_with_parent(os.getppid()); print('alive', flush=True)\n"
        "die_with_parent(os.getppid() + 1); print('still there', flush=True)"
    )
    process = python(script)
    assert process.communicate(timeout=20)[0] == "alive\n"
    assert process.returncode == -signal.SIGKILL


# --- tools ----------------------------------------------------------------------------------


def test_tools_are_found_and_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"tool is not installed.*package toolbox"):
        find_tool("tool", "toolbox")
    tool.chmod(0o755)
    assert find_tool("tool", "toolbox") == str(tool)
    assert find_tool("sfdisk", "fdisk").endswith("sbin/sfdisk"), "not on an ordinary user's PATH"


def test_a_tools_output_and_folder(tmp_path: Path) -> None:
    assert run_tool(["pwd"], package="coreutils", cwd=tmp_path) == f"{tmp_path}\n".encode()


def test_a_tool_that_fails_tells_its_last_words() -> None:
    with pytest.raises(ToolError) as raised:
        run_tool(["sh", "-c", r"echo first >&2; printf 'l\033ast\n' >&2; exit 7"], package="dash")
    assert str(raised.value) == r"sh failed (status 7): l\x1bast"
    with pytest.raises(ToolError, match="only this"):
        run_tool(["sh", "-c", "echo only this; exit 1"], package="dash")
    with pytest.raises(ToolError, match="it said nothing"):
        run_tool(["false"], package="coreutils")
    with pytest.raises(ToolError, match="install package nowhere"):
        run_tool(["no-such-tool"], package="nowhere")


def test_a_tool_that_has_no_room_is_a_full_disk() -> None:
    with pytest.raises(DiskFull, match="while dd was writing"):
        run_tool(
            ["dd", "if=/dev/zero", "of=/dev/full", "count=1", "status=none"], package="coreutils"
        )


# --- our own files --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_a_full_disk(number: int) -> None:
    words = r"the report \(/report/x\).*--report or BOOTGATE_CACHE"
    with pytest.raises(DiskFull, match=words), disk("the report"):
        raise OSError(number, os.strerror(number), "/report/x")
    with pytest.raises(DiskFull, match="open file"), disk("the report"):
        raise OSError(number, os.strerror(number))


def test_a_really_full_device_is_a_full_disk() -> None:
    with pytest.raises(DiskFull), disk("the log"), open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EROFS])
def test_other_trouble_is_a_rig_fault(number: int) -> None:
    with pytest.raises(RigFault, match="cannot write the report") as raised, disk("the report"):
        raise OSError(number, os.strerror(number), "/report/x")
    assert not isinstance(raised.value, DiskFull)
    assert os.strerror(number) in str(raised.value)


def test_what_is_no_disk_trouble_passes_through() -> None:
    with pytest.raises(ValueError, match="mine"), disk("the report"):
        raise ValueError("mine")


# --- text -----------------------------------------------------------------------------------


def test_hostile_text_is_escaped() -> None:
    assert printable(HOSTILE) == r"\x1b[31m\x00\r\x9b2J\u202e\u2028\udc80\x7f"
    assert printable("a\nb\tc \u00e9\U0001f4be") == "a\\nb\\tc \u00e9\U0001f4be"
    assert escaped_lines(f"a\n\tb{HOSTILE}\n") == f"a\n\tb{printable(HOSTILE)}\n"
    assert printable("x" * 301) == "x" * 300 + "..."
    assert printable("x" * 300) == "x" * 300
    assert printable("abc", 2) == "ab..."


@given(st.text(st.characters()), st.integers(0, 50))
def test_nothing_that_is_printed_moves_a_cursor(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit + 3
    assert all(c.isprintable() or c in "\n\t" for c in escaped_lines(text))
    assert escaped_lines(text).count("\n") == text.count("\n")
