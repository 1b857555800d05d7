"""The labelled corpus: what a PC is made to boot, and the outcome that it must get.

A case is a file `corpus/NAME.asm` or an entry of `FILE_SYSTEMS`, the first sectors that mkfs
tools write. A label says what the PC really does, never what a rule is expected to make of
it. A file begins with comment lines:

    ; expect: hung spinning     the outcome, as `label` writes it
    ; budget: 12                seconds of the whole case; BUDGET without it
    ; size: 12                  MiB of the disk; 1 without it
    ; drive: usb                the disk is in the gadget's drive; else it is the next device
    ; fault: cut at read 5      what befalls the cable behind which command that reads: cut, mute
    ; sample: yes               run by every ci/test, not by `ci/test -k corpus` alone
    ; A sentence or more: what it does, and why the label is right.

Those that go on for ever have a small budget, so that the corpus stays quick; those that must
be seen to boot have one that is enough on a machine with twice the load.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

from harness.observation import Observation, read_recording
from harness.outcome import rules
from harness.outcome.kinds import KINDS, Booted, Hung, Inconclusive, Outcome
from harness.owner import run_tool

SOURCES = Path(__file__).parent / "corpus"
BUDGET = 45.0
KEY_BUDGET = 15.0
"""For those that wait for a key from the start: keys are offered when the time is up."""
MIB = 1 << 20
HOWS = ("halted", "idle", "spinning", "runaway")
REPLAY_SECONDS = 5.0
"""How long it may take to judge all recordings of a run again."""
FEW = 50
"""Recordings for which more processes are not worth their start."""


@dataclass(frozen=True)
class Case:
    """A disk, and the outcome of booting it. `write` makes the disk image."""

    name: str
    expected: str
    about: str
    write: Callable[[Path], None]
    budget: float = BUDGET
    drive: str = "next-device"
    fault: tuple[str, int] | None = None
    """What is done to the cable, a method of the relay, behind which of the reads."""
    sample: bool = False


# --- what a file's header says ----------------------------------------------------------------

_SETTINGS = ("expect", "budget", "size", "drive", "fault", "sample")
_FAULT = re.compile(r"(cut|mute) at read ([1-9]\d*)")


def case_of(path: Path) -> Case:
    """The case that a file's header describes. Raises ValueError when it is no such header."""
    settings: dict[str, str] = {}
    about: list[str] = []
    for line in path.read_text(encoding="ascii").splitlines():
        if not line.startswith(";"):
            break
        key, colon, value = line.removeprefix(";").strip().partition(": ")
        if colon and not about and key in _SETTINGS:
            settings[key] = value
        else:
            about.append(line.removeprefix(";").strip())
    expected = settings.get("expect", "")
    drive = settings.get("drive", "next-device")
    fault = _FAULT.fullmatch(settings.get("fault", "cut at read 1"))
    if not (is_label(expected) and about and fault and drive in ("next-device", "usb")):
        raise ValueError(f"{path.name}: its header does not say what to expect, and why")
    size = int(settings.get("size", "1")) * MIB
    return Case(
        name=path.stem,
        expected=expected,
        about=" ".join(about),
        write=lambda image: _assemble(path, image, size),
        budget=float(settings.get("budget", BUDGET)),
        drive=drive,
        fault=(fault[1], int(fault[2])) if "fault" in settings else None,
        sample=settings.get("sample") == "yes",
    )


def is_label(text: str) -> bool:
    """Whether `label` could have written it."""
    kind, _, detail = text.partition(" ")
    if kind == "hung":
        return detail in HOWS
    return kind in KINDS and bool(detail) == (kind == "booted")


def label(outcome: Outcome) -> str:
    """An outcome as the corpus writes it: "hung idle", "booted next-device", "waiting"."""
    match outcome:
        case Hung():
            return f"hung {outcome.how}"
        case Booted():
            return f"booted {outcome.medium}"
    return outcome.kind


def _assemble(source: Path, image: Path, size: int) -> None:
    """Raises ToolError, DiskFull."""
    include = f"{source.parent}/"
    run_tool(["nasm", "-f", "bin", "-i", include, "-o", str(image), str(source)], package="nasm")
    with open(image, "r+b") as disk:
        disk.truncate(size)


# --- disks as tools make them -----------------------------------------------------------------


def _made_by(package: str, size: int, *command: str) -> Callable[[Path], None]:
    def write(image: Path) -> None:
        with open(image, "wb") as disk:
            disk.truncate(size * MIB)
        run_tool([*command, str(image)], package=package)

    return write


def _partitioned(image: Path) -> None:
    with open(image, "wb") as disk:
        disk.truncate(8 * MIB)
    script = image.with_name("partitions")
    script.write_text("label: gpt\nstart=2048, size=4096, type=linux\n")
    run_tool(
        ["sh", "-c", 'sfdisk --quiet "$1" <"$2"', "sh", str(image), str(script)], package="fdisk"
    )


def _encrypted(image: Path) -> None:
    with open(image, "wb") as disk:
        disk.truncate(8 * MIB)
    key = image.with_name("key")
    key.write_text("bootgate")
    run_tool(
        [
            *("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks1"),
            *("--pbkdf-force-iterations", "1000", str(image), str(key)),
        ],
        package="cryptsetup-bin",
    )


FILE_SYSTEMS = (
    Case(
        "mkfs_exfat",
        "hung runaway",
        "mkfs.exfat writes the signature and leaves the 390 bytes for boot code zero.",
        _made_by("exfatprogs", 8, "mkfs.exfat"),
        sample=True,
    ),
    Case(
        "mkfs_fat12",
        "waiting",
        "mkfs.vfat's boot code says that this is no bootable disk, asks for a key through INT "
        "16h and boots again through INT 19h.",
        _made_by("dosfstools", 2, "mkfs.vfat", "-F", "12"),
        KEY_BUDGET,
        sample=True,
    ),
    Case(
        "mkfs_fat16",
        "waiting",
        "As mkfs_fat12.",
        _made_by("dosfstools", 16, "mkfs.vfat", "-F", "16"),
        KEY_BUDGET,
    ),
    Case(
        "mkfs_fat32",
        "waiting",
        "As mkfs_fat12.",
        _made_by("dosfstools", 40, "mkfs.vfat", "-F", "32"),
        KEY_BUDGET,
    ),
    Case(
        "mkfs_ntfs",
        "waiting",
        "mkfs.ntfs's boot code says that this is no bootable disk, asks for a key through INT "
        "16h and boots again through INT 19h.",
        _made_by("ntfs-3g", 8, "mkfs.ntfs", "--fast", "--force", "--quiet"),
        KEY_BUDGET,
    ),
    Case(
        "mkfs_ext4",
        "no_boot_device",
        "ext4 leaves its first 1024 bytes alone: no signature.",
        _made_by("e2fsprogs", 8, "mke2fs", "-q", "-F", "-t", "ext4"),
    ),
    Case(
        "gpt",
        "hung runaway",
        "The protective MBR that sfdisk writes before a GUID partition table has a signature "
        "and no code: zeros are run, and then the table's entry, where FF FF is no instruction.",
        _partitioned,
    ),
    Case(
        "luks",
        "no_boot_device",
        "A LUKS header (version 1) has key slots where a boot sector has its signature.",
        _encrypted,
    ),
)


def cases() -> tuple[Case, ...]:
    """The whole corpus, by name; those that take longest first."""
    found = [case_of(path) for path in SOURCES.glob("*.asm")]
    return tuple(sorted([*found, *FILE_SYSTEMS], key=lambda c: (-c.budget, c.name)))


# --- what came of it --------------------------------------------------------------------------


class Row(NamedTuple):
    """A case's line in the table. A test's property is its plain tuple: xdist knows no other.

    `seconds` is the time from the last progress to what the outcome was decided on, None for
    an outcome that nothing proved; `recording` is the path of its observations.
    """

    name: str
    expected: str
    got: str
    seconds: float | None
    recording: str


def decided_after(stream: Sequence[Observation]) -> float | None:
    """Seconds between the last progress and the observation that proved the outcome.

    What the rig observed later, to find out more, does not count. None when nothing proved one.
    """
    judge = rules.Judge()
    since = stream[0].at if stream else 0.0
    for seen in stream:
        since = seen.at if seen.progress else since
        if judge.see(seen) is not None:
            return round(seen.at - since, 3)
    return None


@dataclass(frozen=True)
class Replay:
    """All recordings of a run, judged again, and which came out otherwise.

    `seconds` are of a processor's time, the busiest one's: beside other load it takes no more.
    """

    count: int
    seconds: float
    otherwise: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether each got the outcome that it had, and all in time."""
        return not self.otherwise and self.seconds < REPLAY_SECONDS

    def __str__(self) -> str:
        """A line for the table."""
        said = f"{self.count} recordings judged again without QEMU in {self.seconds:.2f} s"
        if self.otherwise:
            return f"BAD {said}, otherwise: {', '.join(self.otherwise)}"
        if not self.good:
            return f"BAD {said}: {REPLAY_SECONDS:g} s is the limit"
        return f"ok  {said}, to the same outcomes"


def replay(rows: Iterable[Row]) -> Replay:
    """Judge the recordings of `rows` by the rules alone, many of them on all cores."""
    rows = list(rows)
    recordings = [row.recording for row in rows]
    if len(rows) < FEW:
        again = [_judged_again(recording) for recording in recordings]
    else:
        # Not by fork: the run that calls this has threads.
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            again = list(pool.map(_judged_again, recordings))
    spent: defaultdict[int, float] = defaultdict(float)
    otherwise = []
    for row, (got, process, seconds) in zip(rows, again, strict=True):
        spent[process] += seconds
        if got != row.got:
            otherwise.append(f"{row.name} ({got})")
    return Replay(len(rows), max(spent.values(), default=0.0), tuple(otherwise))


def _judged_again(recording: str) -> tuple[str, int, float]:
    """Its label; which process found that, and how much of the processor's time it took."""
    started = time.process_time()
    stream = read_recording(Path(recording))
    got = label(rules.decide(stream) or Inconclusive())
    return got, os.getpid(), time.process_time() - started


def table(rows: Iterable[Row]) -> list[str]:
    """Expected x got, a line for each case, and how long each kind of hang took to be called."""
    rows = sorted(rows)
    names = max((len(row.name) for row in rows), default=0)
    labels = max((len(row.expected) for row in rows), default=0)
    lines = []
    for row in rows:
        mark = "ok " if row.expected == row.got else "BAD"
        after = "" if row.seconds is None else f"  {row.seconds:.2f} s"
        lines.append(
            f"{mark} {row.name:{names}}  expected {row.expected:{labels}}"
            f"  got {row.got:{labels}}{after}".rstrip()
        )
    right = sum(row.expected == row.got for row in rows)
    lines.append(f"{right} of {len(rows)} right; seconds are from the last progress to the proof")
    for how in HOWS:
        took = [r.seconds for r in rows if r.got == f"hung {how}" and r.seconds is not None]
        if took:
            lines.append(
                f"{how:9} decided after min {min(took):.2f} s, median {median(took):.2f} s, "
                f"max {max(took):.2f} s ({len(took)} cases)"
            )
    return lines
