"""Every command that README.md shows ends with the status, and prints the words, that it shows.

Each judges one case only; compared is what README's samples say of that case, and of what all
runs say, but for numbers of cases and seconds and for addresses.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from harness.firmware import open_firmware
from harness.firmware.nanokvm import SERVER_IN_TREE

pytestmark = pytest.mark.rig


README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.M | re.S)
KEPT = "EMPTY-1/hid_and_storage-exfat-ehci"
SERVED = "EMPTY-3/ehci"
MORE_CASES = (
    " (and 8 more cases)",
    ", EMPTY-2, EMPTY-3, EMPTY-4, EMPTY-5, EMPTY-6, SAFE-1, SAFE-2, LIFE-2",
)
"""What the sample of a broken firmware says because it is of all cases."""


def commands() -> list[str]:
    """The command lines of README's code blocks, without what is said beside them."""
    found = re.findall(
        r"^(?: *run it again: )?((?:ci/\w+|\.venv/bin/bootgate).*)$", "".join(BLOCKS), re.M
    )
    return list(dict.fromkeys(re.split(r"\s{2,}", line)[0] for line in found))


def plain(text: str) -> str:
    """`text` without what varies: numbers of what is counted, blanks, where the report is.

    And where the processor was seen at the moments at which it was looked at.
    """
    text = re.sub(r"[\d.]+ (s\b|left|of|cases?|requirements?)", r"N \1", " ".join(text.split()))
    text = re.sub(r"\b(requirement|case)s\b(?!/)", r"\1", text)
    text = re.sub(r"at [0-9A-F]{4}:[0-9A-F]{4}(, [0-9A-F]{4}:[0-9A-F]{4})*;", "at ADDRESS;", text)
    return re.sub(r"\S*/bootgate-report/", "bootgate-report/", text)


def samples(status: int) -> list[str]:
    """The pieces of README's sample output that a run of one case prints, too."""
    (block,) = (b for b in BLOCKS if ("is BROKEN" if status else "control/") in b)
    if status:
        for words in MORE_CASES:
            assert words in block
            block = block.replace(words, "")
        return [block]
    # Of the table the columns of the first controller.
    lines = [" ".join(re.split(r"\s{2,}", line)[:3]) for line in block.splitlines()]
    return [line for line in lines if line != "..."]


def test_a_sample_is_compared_word_by_word() -> None:
    sample = plain("2 of 4 requirements broken (30 cases,\n7.2 s) at 0000:0000; all")
    assert sample == plain("1 of 1 requirement broken (1 case, 12 s) at 0000:EB60, 0000:0000; all")
    assert sample != plain("1 of 1 requirement broken (1 case, 12 s) at 0000:0000; each")
    assert len(samples(0)) == 6
    assert KEPT in samples(0)[2]


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
    places = {"PATH": checkout, "SERVER": checkout / "kvmapp" / SERVER_IN_TREE, "GITREF": "HEAD"}
    words = [
        re.sub("|".join(places), lambda name: str(places[name[0]]), word)
        for word in shlex.split(command)
    ]
    only_told = {"--list", "--help"} & set(words)
    if "probe" in words:
        words += ["-k", "empty_test_unit_ready"]
    elif "--server" in words:
        words += ["-k", SERVED]
    elif not only_told and "-k" not in words:
        words += ["-k", KEPT]
    done = subprocess.run(
        [str(ROOT / words[0]), *words[1:]],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    status = 1 if "stock" in words else 0
    assert done.returncode == status, done.stdout + done.stderr
    if "--list" in words:
        assert {KEPT, "control/stock_hangs"} <= set(done.stdout.splitlines())
    elif "probe" in words:
        assert "TEST UNIT READY: 02/3A" in done.stdout
    elif "--help" in words:
        others = {"--help", "--wire"}  # that of the probe
        for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - others:
            assert re.search(rf"{option}\b", done.stdout), option
    elif "--server" in words:
        assert f"{SERVED}: booted next-device" in done.stdout
    else:
        for sample in samples(status):
            assert plain(sample) in plain(done.stdout)
        assert (tmp_path / "bootgate-report" / "results.json").is_file()
