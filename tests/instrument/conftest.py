"""What the tests of the instrument share: the command as users run it, and the fault table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "harness.cli")


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
    ) -> Finished:
        report = tmp_path / "report"
        done = subprocess.run(
            [*prefix, *COMMAND, "validate", "--report", str(report), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr, report)

    return run


# --- the table of seeded faults ---------------------------------------------------------------


@dataclass
class FaultTable:
    """Firmware -> (what it should break, what it broke)."""

    rows: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)


TABLE = pytest.StashKey[FaultTable]()


@pytest.fixture
def fault_table(request: pytest.FixtureRequest) -> FaultTable:
    """The rows that pytest prints at its end."""
    table: FaultTable = request.config.stash.setdefault(TABLE, FaultTable())
    return table


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table."""
    table = config.stash.get(TABLE, None)
    if table is None:
        return
    terminalreporter.section("seeded faults: what each breaks")
    width = max(len(name) for name in table.rows)
    for name, (expected, got) in table.rows.items():
        mark = "ok " if expected == got else "BAD"
        terminalreporter.line(
            f"{mark} {name:{width}}  expected: {', '.join(expected) or 'nothing'}"
            f"  got: {', '.join(got) or 'nothing'}"
        )
