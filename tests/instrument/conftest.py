"""What the tests of the instrument share: the command as users run it, the machine, the table."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpus
import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "harness.cli")
UNCONTROLLED = (sys.executable, str(Path(__file__).with_name("uncontrolled.py")))
FEWER = ("--workers", "1")
"""Cases at once, where a worker of pytest's for each core has a run of its own."""


def heed_signals() -> None:
    """In a child that is to be sent a signal, before its program: none is ignored.

    Under nohup(1) and behind a script's "&" pytest inherits that, and hands it on.
    """
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class Finished:
    """How a run of the command ended, and its report."""

    status: int
    stdout: str
    stderr: str
    report: Path

    @property
    def results(self) -> dict[str, Any]:
        """results.json."""
        loaded: dict[str, Any] = json.loads((self.report / "results.json").read_text())
        return loaded

    @property
    def verdicts(self) -> dict[str, str]:
        """Requirement id -> verdict."""
        return {r["id"]: r["verdict"] for r in self.results["requirements"]}


Validate = Callable[..., Finished]


@pytest.fixture
def validate(tmp_path: Path) -> Validate:
    """Run `bootgate validate` as a process of its own."""

    def run(
        *arguments: str,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        timeout: float = 300,
        controlled: bool = True,
    ) -> Finished:
        command = COMMAND if controlled else UNCONTROLLED
        report = tmp_path / "report"
        done = subprocess.run(
            [*prefix, *command, "validate", "--report", str(report), *FEWER, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr, report)

    return run


# --- one at a time ----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def turn(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Tests that measure seconds run `alone`; other tests on the rig share the machine."""
    if request.node.get_closest_marker("rig") is None:
        yield
        return
    alone = request.node.get_closest_marker("alone") is not None
    base = tmp_path_factory.getbasetemp()
    # Workers of pytest-xdist each have a folder in one that they share.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with open(shared / "turn", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that run alone first: beside them another worker has the fast ones to run.

    Then those that take longest, so that none of them is left for one worker at the end.
    """

    def rank(item: pytest.Item) -> int:
        marks = ("alone", "long", "rig")
        return next(
            (n for n, mark in enumerate(marks) if item.get_closest_marker(mark)), len(marks)
        )

    items.sort(key=rank)


# --- the tables at a run's end ----------------------------------------------------------------

BREAKS = "breaks"
"""The property of a test that is a row of the table: a firmware, what it should break, what it
broke, and what was not judged. Properties come back from pytest-xdist's workers."""

CORPUS = "corpus"
"""The property of a test that is a case of the corpus, a corpus.Row."""

_REPLAY = pytest.StashKey[corpus.Replay]()


def rows_of(config: pytest.Config, wanted: str) -> list[Any]:
    """What the tests of this run have under a property."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    # Setup, call and teardown of a test each report its properties.
    return [
        value
        for reports in (reporter.stats.values() if reporter is not None else ())
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == wanted
    ]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Judge the recordings of the corpus again; the run has failed if that comes out otherwise.

    No test could: pytest-xdist's workers have no order among them, so that none of their tests
    is the last.
    """
    if hasattr(session.config, "workerinput"):
        return
    if rows := [corpus.Row(*row) for row in rows_of(session.config, CORPUS)]:
        again = session.config.stash[_REPLAY] = corpus.replay(rows)
        if not again.good and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the tables."""
    if rows := [corpus.Row(*row) for row in rows_of(config, CORPUS)]:
        terminalreporter.section("corpus: expected x got")
        for line in (*corpus.table(rows), str(config.stash[_REPLAY])):
            terminalreporter.line(line)
    faults: list[tuple[str, list[str], list[str], list[str]]] = sorted(rows_of(config, BREAKS))
    if not faults:
        return
    terminalreporter.section("seeded faults: what each breaks")
    width = max(len(name) for name, *_ in faults)
    for name, expected, got, unjudged in faults:
        mark = "ok " if expected == got else "BAD"
        terminalreporter.line(
            f"{mark} {name:{width}}  expected: {', '.join(expected) or 'nothing'}"
            f"  got: {', '.join(got) or 'nothing'}"
            + (f"  not judged: {', '.join(unjudged)}" if unjudged else "")
        )
