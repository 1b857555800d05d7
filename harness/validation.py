"""One run of the requirement tests against a firmware: workers, results, report."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import __version__
from harness.equipment import Equipment, prepare
from harness.errors import ReportFolderError, RigFault, UsageError
from harness.firmware import open_firmware
from harness.firmware.folder import kvmapp_within
from harness.firmware.shipped import names
from harness.firmware.supplied import supplied
from harness.host.pc import BIOSES, DEFAULT_BIOS, check_bios
from harness.outcome.catalogue import REQUIREMENTS
from harness.outcome.verdict import (
    CaseResult,
    Judgement,
    Verdict,
    exit_status,
    failed_controls,
    verdict,
)
from harness.owner import RunFolder, printable, stoppable
from harness.plugin import (
    FILE,
    RESULT,
    Run,
    argument,
    bios_of,
    case_id,
    controller_of,
    give,
    result_of,
)
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
    """What the user asked for. `workers` is how many cases are run at once.

    `bios` is None when none was named: each case has its own then.
    """

    firmware: str
    server: Path | None
    overlay: Path | None
    bios: str | None
    controllers: tuple[str, ...]
    keyword: str
    full: bool
    seed: int | None
    report: Path
    workers: int
    require_all: bool

    def pytest_options(self) -> list[str]:
        """The options of pytest's that make the choice of cases (harness/plugin.py).

        The firmware and a BIOS's file are not among them: the workers get both with the
        equipment, and their names may be no UTF-8, which options cannot be on their way to a
        worker.
        """
        options = [word for name in self.controllers for word in ("--controller", name)]
        if self.bios is not None:
            options += ["--bios", self.bios if self.bios in BIOSES else FILE]
        options += ["--full"] if self.full else []
        options += ["--seed", str(self.seed)] if self.seed is not None else []
        options += ["-k", self.keyword] if self.keyword else []
        # What pytest would print is ours to print; so its options for that are gone too,
        # which the project's own addopts hold.
        # tmpdir would make /tmp/pytest-of-USER: a case's files belong in the run's folder.
        quiet = [word for name in _UNUSED for word in ("-p", f"no:{name}")]
        quiet += ["--override-ini", "addopts="]
        config = ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
        return [str(TESTS), *config, *quiet, *options]


_UNUSED = ("terminal", "cacheprovider", "tmpdir", "anyio")
"""Plugins that a run does without: pytest's own, and one that httpx brings along."""


def validate(choice: Choice) -> int:
    """Run the cases, write the report, print the summary; returns the exit status.

    Raises UsageError and RigFault when nothing could be run.
    """
    with stoppable() as signals:
        try:
            return _validate(choice, signals)
        except (Exception, KeyboardInterrupt):
            # pytest catches what the signal raised and ends as if by itself: whatever comes
            # up after a signal has come of it.
            if not signals:
                raise
            return 128 + signals[0]


def _validate(choice: Choice, signals: list[int]) -> int:
    started = time.monotonic()
    chosen = _collected(choice)
    folder = ReportFolder(choice.report)
    with RunFolder() as scratch, Live() as live:
        opened = supplied(
            open_firmware(choice.firmware, scratch.path / "firmware"),
            scratch.path / "supplied",
            server=choice.server,
            overlay=choice.overlay,
        )
        _refuse_report_in_firmware(choice)
        folder.prepare()
        bios = choice.bios or DEFAULT_BIOS
        if bios not in BIOSES:
            bios = str(Path(bios).absolute())  # the workers are in another folder
        equipment = prepare(opened, bios, scratch.path, live.note)
        live.total = len(chosen)
        run = Run(equipment, scratch.path, folder.path, scratch.path / "status")
        watch = _Watch(run, live, chosen)
        problems = watch.run_cases(choice, min(choice.workers, len(chosen)))
        if problems and not watch.results and not signals:
            raise RigFault("; ".join(problems))
        for problem in problems if not signals else ():
            live.note(f"rig fault: {problem}")
    cases = watch.results + _not_run(chosen, watch.results, bios, problems, bool(signals))
    expected = {case.requirement for case in chosen}
    verdicts = [
        verdict(name, [c for c in in_order(cases) if c.requirement == name])
        for name in REQUIREMENTS
        if name in expected
    ]
    status = exit_status(verdicts, cases, require_all=choice.require_all)
    if problems and status == 0:
        status = 3
    if signals:
        status = 128 + signals[0]
    _report(folder, equipment, choice, verdicts, cases, status, bool(signals))
    told = summary.Run(
        firmware=choice.firmware,
        bios=choice.bios,
        report=folder.path,
        seconds=time.monotonic() - started,
        status=status,
        interrupted=bool(signals),
        controllers=choice.controllers,
        full=choice.full,
        seed=choice.seed,
        server=choice.server,
        overlay=choice.overlay,
    )
    summary.print_summary(live.console, told, verdicts, cases)
    return status


def _refuse_report_in_firmware(choice: Choice) -> None:
    """A report in the folder under test would be part of the next run's firmware.

    Raises ReportFolderError. An archive or a commit cannot hold it; nor does a checkout,
    unless it lies in the kvmapp folder itself.
    """
    path = Path(choice.firmware)
    taken = [choice.overlay.resolve()] if choice.overlay is not None else []
    if choice.firmware not in names() and path.is_dir():
        taken.append(kvmapp_within(path).resolve())
    for folder in taken:
        if choice.report.resolve().is_relative_to(folder):
            raise ReportFolderError(
                f"the report folder {printable(str(choice.report))} lies in the firmware under "
                f"test, {printable(str(folder))}: name another with --report"
            )


@dataclass(frozen=True)
class _Chosen:
    """A case that is to be run. `node` is pytest's own name of it."""

    id: str
    node: str
    requirement: str
    control: str
    controller: str | None
    bios: str | None

    def without_result(self, bios: str, judgement: Judgement, reason: str) -> CaseResult:
        """What the report says of the case when it did not come back; `bios` is the run's."""
        return CaseResult(
            id=self.id,
            requirement=self.requirement,
            control=self.control,
            controller=self.controller,
            bios=self.bios or bios,
            data_partition=None,
            outcome=None,
            judgement=judgement,
            reason=reason,
            boot_seconds=0.0,
            total_seconds=0.0,
        )


def _not_run(
    chosen: Sequence[_Chosen],
    cases: Sequence[CaseResult],
    bios: str,
    problems: Sequence[str],
    interrupted: bool,
) -> list[CaseResult]:
    """A result for each case that did not come back, so that none goes unnoticed.

    The rig is to blame, unless the run was ended on purpose. An interrupted run says nothing
    of the controls that it did not come to.
    """
    judgement: Judgement = "rig_fault"
    reason = "; ".join(["it was not run", *problems])
    if interrupted:
        judgement, reason = "not_judged", "the run was interrupted before its end"
    elif failed := failed_controls(cases):
        judgement, reason = "not_judged", f"it was not run: control {failed[0].control} failed"
    back = {case.id for case in cases}
    return [
        case.without_result(bios, judgement, reason)
        for case in chosen
        if case.id not in back and not (interrupted and case.control)
    ]


class _Watch:
    """The first process's view of its workers: pytest hooks, and what the cases are doing."""

    def __init__(self, run: Run, live: Live, chosen: Sequence[_Chosen]) -> None:
        self._run = run
        self._live = live
        self._chosen = {case.node: case for case in chosen}
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
        options = [f"-n{workers}", "--maxschedchunk=1"]
        # Not where the user is: that folder's name may be no UTF-8, and a worker tells it.
        with redirect_stderr(spoken), chdir("/"):
            status = pytest.main([*choice.pytest_options(), *options], [self])
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
        # Our command line, which a worker has no use for: it may hold what is no UTF-8.
        node.workerinput["mainargv"] = ["bootgate"]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A worker has run a phase of a test."""
        result = result_of(report)
        if result is not None:
            self._add(result)
        elif str(report.when) == "???":  # xdist: the worker died in the middle of it
            case = self._chosen[report.nodeid]
            if case.id not in {result.id for result in self.results}:
                bios = self._run.equipment.bios
                self._add(case.without_result(bios, "rig_fault", "its worker died"))

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
    """Collects the cases that pytest would run."""

    def __init__(self) -> None:
        self.chosen: list[_Chosen] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """All is collected and what was not asked for is left out."""
        self.chosen = [
            _Chosen(
                case_id(item),
                item.nodeid,
                argument(item, "requirement"),
                argument(item, "control"),
                controller_of(item),
                bios_of(item),
            )
            for item in session.items
        ]


def listed(choice: Choice) -> list[str]:
    """The ids of the cases that are selected, the controls first. Raises UsageError if none."""
    return [case.id for case in _collected(choice)]


def _collected(choice: Choice) -> list[_Chosen]:
    """The cases that are selected, the controls first.

    Raises UsageError if there is none, or the BIOS cannot be used.
    """
    if choice.bios is not None:
        check_bios(choice.bios)
    try:
        choice.keyword.encode()
    except UnicodeEncodeError:
        raise UsageError(f"-k {printable(choice.keyword)} is no UTF-8") from None
    lister, spoken = _Lister(), io.StringIO()
    with redirect_stderr(spoken):
        status = pytest.main([*choice.pytest_options(), "--collect-only"], [lister])
    if status == pytest.ExitCode.USAGE_ERROR:
        raise UsageError(_last_line(spoken))
    if not lister.chosen and status in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise UsageError("nothing selected: no case matches; --list shows what there is")
    if status != 0:
        raise RigFault(f"the requirement tests cannot be collected: {_last_line(spoken)}")
    ids = [case.id for case in lister.chosen]
    repeated = {name for name in ids if ids.count(name) > 1}
    if repeated:
        raise RigFault(f"two cases have one id: {', '.join(sorted(repeated))}")
    return lister.chosen


def _last_line(spoken: io.StringIO) -> str:
    lines = [line for line in spoken.getvalue().splitlines() if line.strip()]
    return printable(lines[-1].removeprefix("ERROR: ")) if lines else "it said nothing"


def _report(
    folder: ReportFolder,
    equipment: Equipment,
    choice: Choice,
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
            "server": _absolute(choice.server),
            "overlay": _absolute(choice.overlay),
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


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
