"""One run of the requirement tests against a firmware: workers, results, report."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest

from harness import __version__
from harness.equipment import Equipment, prepare
from harness.errors import RigFault, UsageError
from harness.firmware import open_firmware
from harness.host.pc import bios_arguments
from harness.outcome.catalogue import REQUIREMENTS
from harness.outcome.verdict import CaseResult, Verdict, exit_status, failed_controls, verdict
from harness.owner import RunFolder, printable
from harness.plugin import RESULT, Run, case_id, give, result_of
from harness.qemu import version
from harness.report import summary
from harness.report.folder import ReportFolder
from harness.report.junit import write_junit
from harness.report.live import Live
from harness.report.results import write_results
from harness.report.words import in_order

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "requirements"


@dataclass(frozen=True)
class Choice:
    """What the user asked for. `workers` is how many cases are run at once."""

    firmware: str
    bios: str
    controllers: tuple[str, ...]
    keyword: str
    full: bool
    report: Path
    workers: int
    require_all: bool

    def pytest_options(self) -> list[str]:
        """The options of pytest's that make the choice (harness/plugin.py)."""
        options = ["--firmware", self.firmware, "--bios", self.bios]
        options += [word for name in self.controllers for word in ("--controller", name)]
        options += ["--full"] if self.full else []
        options += ["-k", self.keyword] if self.keyword else []
        # What pytest would print is ours to print; so its options for that are gone too,
        # which the project's own addopts hold.
        quiet = ["-p", "no:terminal", "-p", "no:cacheprovider", "--override-ini", "addopts="]
        config = ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
        return [str(TESTS), *config, *quiet, *options]


class _Stopped(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Within, a signal ends all processes of the run at once, then unwinds this one.

    Yields a list that holds the signal's number afterwards. The workers are killed, not
    asked: what they started dies with them (harness/owner.py), and their files are ours.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        first = not received
        received.append(number)
        for child in psutil.Process().children():
            child.kill()
        if first:
            raise _Stopped(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def validate(choice: Choice) -> int:
    """Run the cases, write the report, print the summary; returns the exit status.

    Raises UsageError and RigFault when nothing could be run.
    """
    with _stoppable() as signals:
        try:
            return _validate(choice, signals)
        except _Stopped:
            return 128 + signals[0]


def _validate(choice: Choice, signals: list[int]) -> int:
    started = time.monotonic()
    bios_arguments(choice.bios)
    chosen = listed(choice)
    folder = ReportFolder(choice.report)
    with RunFolder() as scratch, Live() as live:
        opened = open_firmware(choice.firmware, scratch.path / "firmware")
        folder.prepare()
        equipment = prepare(opened, choice.bios, scratch.path, live.note)
        live.total = len(chosen)
        run = Run(equipment, scratch.path, folder.path, scratch.path / "status")
        watch = _Watch(run, live)
        problems = watch.run_cases(choice, min(choice.workers, len(chosen)))
        cases = watch.results
        if problems and not signals:
            raise RigFault("; ".join(problems))
    expected = {name.split("/")[0] for name in chosen}
    verdicts = [
        verdict(name, [c for c in in_order(cases) if c.requirement == name])
        for name in REQUIREMENTS
        if name in expected
    ]
    status = exit_status(verdicts, cases, require_all=choice.require_all)
    if signals:
        status = 128 + signals[0]
    _report(folder, equipment, verdicts, cases, status, bool(signals))
    told = summary.Run(
        firmware=choice.firmware,
        bios=None if choice.bios == "seabios" else choice.bios,
        report=folder.path,
        seconds=time.monotonic() - started,
        status=status,
        interrupted=bool(signals),
    )
    summary.print_summary(live.console, told, verdicts, cases)
    return status


class _Watch:
    """The first process's view of its workers: pytest hooks, and what the cases are doing."""

    def __init__(self, run: Run, live: Live) -> None:
        self._run = run
        self._live = live
        self._running: set[str] = set()
        self._problems: list[str] = []
        self.results: list[CaseResult] = []

    def run_cases(self, choice: Choice, workers: int) -> list[str]:
        """Run them in `workers` processes. Returns what went wrong with the run as a whole."""
        assert self._run.status is not None
        os.mkfifo(self._run.status, 0o600)
        # Open for writing too: a pipe without any writer would be at its end.
        pipe = os.open(self._run.status, os.O_RDWR)
        threading.Thread(target=self._listen, args=(pipe,), name="status", daemon=True).start()
        spoken = io.StringIO()
        with redirect_stderr(spoken):
            status = pytest.main(
                [*choice.pytest_options(), f"-n{workers}", "--maxschedchunk=1"], [self]
            )
        if status not in (0, 1, 2) and not self._problems:
            self._problems.append(f"pytest ended with status {status}: {_last_line(spoken)}")
        return self._problems

    def _listen(self, pipe: int) -> None:
        for line in os.fdopen(pipe, encoding="utf-8"):
            said = json.loads(line)
            if said["case"] not in self._running:
                self._running.add(said["case"])
                self._live.started(said["case"])
            self._live.doing(said["case"], said["doing"])

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist starts a worker."""
        node.workerinput[RESULT] = give(self._run)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A worker has run a phase of a test."""
        result = result_of(report)
        if result is not None:
            self._add(result)
        elif str(report.when) == "???":  # xdist: the worker died in the middle of it
            self._problems.append(f"a worker died while it ran {report.nodeid}")

    def _add(self, result: CaseResult) -> None:
        self.results.append(result)
        self._live.ended(result)
        if failed_controls([result]) and self._session is not None:
            self._session.shouldstop = "a control failed"

    _session: pytest.Session | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Remember the session: a failed control stops it."""
        self._session = session

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Test files that cannot be read."""
        if report.failed:
            self._problems.append(
                f"cannot collect {report.nodeid}: {printable(str(report.longrepr))}"
            )

    def pytest_internalerror(self, excrepr: object) -> None:
        """An error in pytest or in a plugin."""
        last = str(excrepr).strip().splitlines()[-1:]
        self._problems.append(f"internal error: {printable(' '.join(last))}")


class _Lister:
    """Collects the ids of the cases that pytest would run."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """All is collected and what was not asked for is left out."""
        self.ids = [case_id(item) for item in session.items]


def listed(choice: Choice) -> list[str]:
    """The ids of the cases that are selected, the controls first. Raises UsageError if none."""
    lister, spoken = _Lister(), io.StringIO()
    with redirect_stderr(spoken):
        status = pytest.main([*choice.pytest_options(), "--collect-only"], [lister])
    if status == pytest.ExitCode.USAGE_ERROR:
        raise UsageError(_last_line(spoken))
    if not lister.ids and status in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise UsageError("nothing selected: no case matches; --list shows what there is")
    if status != 0:
        raise RigFault(f"the requirement tests cannot be collected: {_last_line(spoken)}")
    repeated = {name for name in lister.ids if lister.ids.count(name) > 1}
    if repeated:
        raise RigFault(f"two cases have one id: {', '.join(sorted(repeated))}")
    return lister.ids


def _last_line(spoken: io.StringIO) -> str:
    lines = [line for line in spoken.getvalue().splitlines() if line.strip()]
    return printable(lines[-1].removeprefix("ERROR: ")) if lines else "it said nothing"


def _report(
    folder: ReportFolder,
    equipment: Equipment,
    verdicts: list[Verdict],
    cases: list[CaseResult],
    status: int,
    interrupted: bool,
) -> None:
    opened = equipment.firmware
    seen = {name: value for case in cases for name, value in case.versions.items()}
    kernel = next(iter(equipment.snapshots.values())).image.kernel.version
    write_junit(folder, verdicts=verdicts, cases=cases)
    write_results(
        folder,
        firmware={
            "spec": opened.spec,
            "path": str(Path(opened.spec).absolute()) if Path(opened.spec).exists() else None,
            "commit": opened.commit,
            "dirty": opened.dirty,
            "sha256": opened.digest,
        },
        rig={
            "bootgate": __version__,
            "qemu": version(),
            "bios": seen.get("bios"),
            "kernel": kernel,
            "usbredirect": seen.get("usbredirect"),
        },
        verdicts=verdicts,
        cases=cases,
        status=status,
        interrupted=interrupted,
    )
