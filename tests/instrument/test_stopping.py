"""However a run ends, its processes and files end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import COMMAND, ROOT, heed_signals

from harness.owner import RunFolder, cache_root

pytestmark = [pytest.mark.rig, pytest.mark.alone]

GONE_SECONDS = 1.0
TAG = "BOOTGATE_TEST_TAG"


@pytest.fixture
def tag(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)
    for process in tagged(str(tmp_path)):
        process.kill()


def tagged(tag: str) -> list[psutil.Process]:
    """All processes that were started with our tag in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(TAG) == tag:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_for(tag: str, holds: str, run: subprocess.Popen[str]) -> None:
    """Wait until a process of the run has `holds` in its command line."""
    end = time.monotonic() + 90
    while time.monotonic() < end and run.poll() is None:
        for process in tagged(tag):
            try:
                if holds in " ".join(process.cmdline()):
                    return
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.02)
    raise AssertionError(f"no process with {holds!r} came up (status {run.poll()})")


# A moment of the run: what is seen then, and how many seconds after it the signal comes.
MOMENTS = [
    pytest.param("harness.cli", 0.0, id="start"),
    pytest.param("-incoming defer", 0.0, id="first gadget"),
    pytest.param("usb-redir", 0.5, id="first host"),
    pytest.param("usb-redir", 4.0, id="in the midst"),
]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(("holds", "later"), MOMENTS)
def test_all_is_gone(
    tag: str, tmp_path: Path, holds: str, later: float, number: signal.Signals
) -> None:
    stop_run(tag, tmp_path, holds, later, number, {})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_all_is_gone_while_the_snapshot_is_made(
    tag: str, tmp_path: Path, number: signal.Signals
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    if (cache_root() / "kernel").is_dir():
        (cache / "kernel").symlink_to(cache_root() / "kernel")
    stop_run(tag, tmp_path, "memory-backend-file", 1.0, number, {"BOOTGATE_CACHE": str(cache)})
    if number != signal.SIGKILL:
        assert not list((cache / "snapshot").iterdir())


def stop_run(
    tag: str, folder: Path, holds: str, later: float, number: signal.Signals, env: dict[str, str]
) -> None:
    cache = Path(env.get("BOOTGATE_CACHE", cache_root()))
    before = set((cache / "runs").iterdir()) if (cache / "runs").is_dir() else set()
    run = subprocess.Popen(
        [*COMMAND, "validate", "--report", str(folder / "report"), "-k", "EMPTY-1"],
        env={**os.environ, **env, TAG: tag},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )
    wait_for(tag, holds, run)
    time.sleep(later)
    run.send_signal(number)
    sent = time.monotonic()
    left = tagged(tag)
    while left and time.monotonic() < sent + 10:
        time.sleep(0.02)
        left = tagged(tag)
    took = time.monotonic() - sent
    _, stderr = run.communicate(timeout=10)
    assert not left
    assert took < GONE_SECONDS, f"the last process was gone after {took:.2f} s"
    # Until Python has started, before any line of ours, a signal is its own affair.
    starting = "Fatal Python error: init" in stderr or "_run_module_as_main" in stderr
    python_starts = starting and str(ROOT / "harness") not in stderr
    assert "Traceback" not in stderr or python_starts
    after = set((cache / "runs").iterdir()) if (cache / "runs").is_dir() else set()
    if number == signal.SIGKILL:
        assert run.returncode == -signal.SIGKILL
        if not env:
            with RunFolder():  # what the next run does first
                assert not (after - before) & set((cache / "runs").iterdir())
    else:
        # Before there is anything to clean up, the signal itself ends the process.
        assert run.returncode in (128 + number, -number) or python_starts
        assert after <= before
    assert {path.name for path in folder.iterdir()} <= {"report", "cache"}
