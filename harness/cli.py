"""The command line. `ci/validate ARGS` is `bootgate validate ARGS`."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import FrameType
from typing import Any

import click
import psutil
import pytest

from harness import __version__
from harness.equipment import Equipment, prepare
from harness.errors import BootgateError, RigFault, UsageError
from harness.firmware import faults, open_firmware, shipped
from harness.host.pc import CONTROLLERS, bios_arguments
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
REPORT = "bootgate-report"

WORKERS_PER_CORE = 2
"""A host that waits for its BIOS needs no core to itself: SeaBIOS's waits are wall time."""


@click.group()
@click.version_option(__version__, prog_name="bootgate")
def command() -> None:
    """Prove that a PC with a legacy BIOS still boots with an IP-KVM's USB gadget plugged in."""


@command.command()
@click.option(
    "--firmware",
    default="fixed",
    show_default=True,
    metavar="NAME|PATH",
    help=f"{', '.join(shipped())}, or a source checkout, a kvmapp folder, a release .tar.gz, "
    f"PATH@GITREF. Seeded faults: {', '.join(faults())}.",
)
@click.option("--report", default=REPORT, show_default=True, metavar="DIR", help="report folder")
@click.option(
    "--controller",
    multiple=True,
    type=click.Choice(list(CONTROLLERS)),
    help="only this USB controller; may be given again",
)
@click.option("--bios", default="seabios", show_default=True, metavar="seabios|FILE")
@click.option("-k", "keyword", default="", metavar="EXPR", help="only cases that match")
@click.option("--list", "list_only", is_flag=True, help="say which cases would be run")
@click.option("--full", is_flag=True, help="also the cases that add little")
@click.option("--require-all", is_flag=True, help="status 3 if a requirement was not judged")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=lambda: WORKERS_PER_CORE * len(os.sched_getaffinity(0)),
    show_default="2 for each core",
    help="cases at once",
)
def validate(
    firmware: str,
    report: str,
    controller: tuple[str, ...],
    bios: str,
    keyword: str,
    list_only: bool,
    full: bool,
    require_all: bool,
    workers: int,
) -> None:
    """Boot PCs with the firmware's gadget plugged in and judge what they do.

    Exit status: 0 nothing broken, 1 the firmware breaks a requirement, 2 wrong usage or
    unusable input, 3 the rig failed.
    """
    selection = ["--firmware", firmware, "--bios", bios]
    selection += [word for name in controller for word in ("--controller", name)]
    selection += ["--full"] if full else []
    selection += ["-k", keyword] if keyword else []
    if list_only:
        for line in _listed(selection):
            click.echo(line)
        return
    sys.exit(_validate(firmware, bios, report, selection, workers, require_all))


def main() -> None:
    """Entry point: every error on purpose is one line and its exit status."""
    try:
        command()
    except BootgateError as error:
        click.echo(f"bootgate: {error}", err=True)
        sys.exit(error.exit_status)
    except _Stopped as stopped:
        click.echo("bootgate: stopped", err=True)
        sys.exit(128 + stopped.signal)


# --- one run ----------------------------------------------------------------------------------


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


def _validate(
    firmware: str, bios: str, report: str, selection: list[str], workers: int, require_all: bool
) -> int:
    started = time.monotonic()
    bios_arguments(bios)
    chosen = _listed(selection)
    folder = ReportFolder(Path(report))
    with _stoppable() as signals, RunFolder() as scratch, Live() as live:
        opened = open_firmware(firmware, scratch.path / "firmware")
        folder.prepare()
        equipment = prepare(opened, bios, scratch.path, live.note)
        live.total = len(chosen)
        run = Run(equipment, scratch.path, folder.path, scratch.path / "status")
        watch = _Watch(run, live)
        problems = watch.run_cases(selection, min(workers, len(chosen)))
        cases = watch.results
        if problems and not signals:
            raise RigFault("; ".join(problems))
    expected = dict.fromkeys(c.split("/")[0] for c in chosen)
    verdicts = [
        verdict(name, [c for c in in_order(cases) if c.requirement == name])
        for name in REQUIREMENTS
        if name in expected
    ]
    status = exit_status(verdicts, cases, require_all=require_all)
    if signals:
        status = 128 + signals[0]
    _report(folder, equipment, verdicts, cases, status, bool(signals))
    summary.print_summary(
        live.console,
        summary.Run(
            firmware=firmware,
            bios=None if bios == "seabios" else bios,
            report=folder.path,
            seconds=time.monotonic() - started,
            status=status,
            interrupted=bool(signals),
        ),
        verdicts,
        cases,
    )
    return status


class _Watch:
    """The first process's view of its workers: pytest hooks, and what the cases are doing."""

    def __init__(self, run: Run, live: Live) -> None:
        self._run = run
        self._live = live
        self._running: set[str] = set()
        self._problems: list[str] = []
        self.results: list[CaseResult] = []

    def run_cases(self, selection: list[str], workers: int) -> list[str]:
        """Run them in `workers` processes. Returns what went wrong with the run as a whole."""
        assert self._run.status is not None
        os.mkfifo(self._run.status, 0o600)
        # Open for writing too: a pipe without any writer would be at its end.
        pipe = os.open(self._run.status, os.O_RDWR)
        threading.Thread(target=self._listen, args=(pipe,), name="status", daemon=True).start()
        spoken = io.StringIO()
        with redirect_stderr(spoken):
            status = pytest.main([*_pytest(selection), f"-n{workers}", "--maxschedchunk=1"], [self])
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


def _pytest(selection: list[str]) -> list[str]:
    # What pytest would print is ours to print; so its options for that are gone too, which
    # the project's own addopts hold.
    quiet = ["-p", "no:terminal", "-p", "no:cacheprovider", "--override-ini", "addopts="]
    return [
        str(TESTS),
        "--rootdir",
        str(ROOT),
        "-c",
        str(ROOT / "pyproject.toml"),
        *quiet,
        *selection,
    ]


class _Lister:
    """Collects the ids of the cases that pytest would run."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """All is collected and what was not asked for is left out."""
        self.ids = [case_id(item) for item in session.items]


def _listed(selection: list[str]) -> list[str]:
    """The ids of the cases that are selected, the controls first. Raises UsageError if none."""
    lister, spoken = _Lister(), io.StringIO()
    with redirect_stderr(spoken):
        status = pytest.main([*_pytest(selection), "--collect-only"], [lister])
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


if __name__ == "__main__":
    main()
