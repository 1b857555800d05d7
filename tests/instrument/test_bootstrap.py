"""ci/bootstrap, in a checkout of its own, with a Python that only says what it was asked for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT, heed_signals

# Speaks into $SAID, one argument a line. "-m venv" makes a Python of the same kind.
PYTHON = """#!/bin/sh
printf '%s\\n' "$@" >>"$SAID"
case "$*" in
*"-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
esac
case "$*" in
*"$HANG"*) mktemp >>"$SAID"; sleep 1000 & echo "hangs $!" >>"$SAID"; wait ;;
*"$BREAK"*) echo broken >&2; exit 7 ;;
esac
"""
NEVER = "no such word"


class Checkout:
    """A checkout whose path has a blank, and what its bootstrap lives in."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.said = folder / "said"
        self.tmp = folder / "tmp"
        self.env = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "TMPDIR": str(self.tmp),
            "SAID": str(self.said),
            "HANG": NEVER,
            "BREAK": NEVER,
        }
        for place in (self.root, self.tmp, folder / "bin"):
            place.mkdir()
        shutil.copytree(ROOT / "ci", self.root / "ci")
        shutil.copy(ROOT / "pyproject.toml", self.root)
        self.program("python3", PYTHON)
        self.program("apt-cache", "#!/bin/sh\n")  # the real one takes a second

    def program(self, name: str, text: str) -> None:
        path = self.root.parent / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def start(self, script: str = "bootstrap", **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.root / "ci" / script],
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_signals,
        )

    def run(self, **env: str) -> tuple[int, str]:
        """Exit status and what was written to standard error."""
        with self.start(**env) as process:
            return process.wait(timeout=20), process.communicate()[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_checkout_whose_path_has_a_blank(checkout: Checkout) -> None:
    assert checkout.run() == (0, "bootgate: making .venv\n")
    said = checkout.said.read_text().splitlines()
    assert f"{checkout.root}[dev]" in said
    assert [word for word in said if word.startswith("images.")] == ["images.kernel", "images.real"]
    checkout.said.unlink()
    assert checkout.run() == (0, "")
    assert "-m\nvenv\n" not in checkout.said.read_text(), "it was there already"
    assert not list(checkout.tmp.iterdir())


def test_no_temporary_folder(checkout: Checkout) -> None:
    status, stderr = checkout.run(TMPDIR="/no/such")
    assert (status, stderr.count("\n")) == (3, 1)
    assert "/no/such" in stderr


@pytest.mark.parametrize("what", ["-VV", "-m venv", "[dev]", "images.kernel", "images.real"])
def test_whatever_fails_ends_in_status_3(checkout: Checkout, what: str) -> None:
    status, stderr = checkout.run(BREAK=what)
    assert status == 3
    assert "broken" in stderr
    assert not list(checkout.tmp.iterdir())


def test_what_nobody_thought_of_ends_in_status_3(checkout: Checkout) -> None:
    checkout.program("sha256sum", "#!/bin/sh\nexit 5\n")
    assert checkout.run() == (3, "bootgate: ci/bootstrap failed (status 5)\n")
    assert not list(checkout.tmp.iterdir())


@pytest.mark.parametrize(
    ("script", "what", "number"),
    [
        ("validate", "-m venv", signal.SIGTERM),
        ("validate", "images.kernel", signal.SIGINT),
        ("test", "setuptools", signal.SIGHUP),
        ("bootstrap", "[dev]", signal.SIGTERM),
    ],
)
def test_a_stopped_bootstrap_leaves_nothing_behind(
    checkout: Checkout, script: str, what: str, number: signal.Signals
) -> None:
    process = checkout.start(script, HANG=what)
    hanging = waited_for_hang(checkout.said)
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode in (-number, 128 + number)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{hanging}").exists() or list(checkout.tmp.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waited_for_hang(said: Path) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if said.exists() and "hangs" in said.read_text():
            return int(said.read_text().split()[-1])
        time.sleep(0.01)
    raise AssertionError("it never came to what was to hang")
