"""Every command that README.md shows does what it says there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from harness.firmware import open_firmware

pytestmark = pytest.mark.rig


def commands() -> list[str]:
    """The command lines of README's code blocks, without what is said beside them."""
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    found = re.findall(r"^(?: *run it again: )?(ci/\w+.*)$", "".join(blocks), re.M)
    return list(dict.fromkeys(re.split(r"\s{2,}", line)[0] for line in found))


def test_readme_leads_with_the_two_commands() -> None:
    assert commands()[:2] == ["ci/validate", "ci/test"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout that is laid out as a device's sources are."""
    place = tmp_path / "checkout"
    open_firmware("fixed", place)
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "all"],
    ):
        subprocess.run(["git", "-C", str(place), *words], check=True)
    return place


@pytest.mark.parametrize("command", [c for c in commands() if c != "ci/test"])
def test_command(command: str, checkout: Path, tmp_path: Path) -> None:
    words = shlex.split(command.replace("PATH", str(checkout)).replace("GITREF", "HEAD"))
    only_told = {"--list", "--help"} & set(words)
    if not only_told:
        words += ["--report", str(tmp_path / "report")]
        words += [] if "-k" in words else ["-k", "EMPTY-1/hid_and_storage-exfat-ehci"]
    done = subprocess.run(
        [str(ROOT / words[0]), *words[1:]],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == (1 if "stock" in words else 0), done.stdout + done.stderr
    if only_told:
        assert "EMPTY-1" in done.stdout or "Usage" in done.stdout
    else:
        kept = "NOT safe to ship" if "stock" in words else "safe to ship as far as judged"
        assert done.stdout.splitlines()[-1].startswith(kept)
