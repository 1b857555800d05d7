"""The run while it goes on: what each host is doing just now, and what came of the others."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType

import rich.live
from rich.console import Console, Group
from rich.text import Text

from harness.outcome.verdict import CaseResult, is_rig_fault
from harness.report.terminal import ReportConsole, on_terminal, say
from harness.report.words import one_line, outcome_words

REFRESHES = 5
"""How often a second the live lines are drawn."""


@dataclass
class _Running:
    since: float
    doing: str = "waiting for its turn"


class Live:
    """The progress of a run. Use as a context manager; any thread may call.

    On a terminal each running case has a line that changes in place. Anywhere else only
    lasting lines are printed, one when a case ends.
    """

    def __init__(self, console: Console | None = None, total: int | None = None) -> None:
        """`total` is how many cases and controls the run has, None while that is not known."""
        self.console = console or ReportConsole()
        self._total = total
        self._ended = 0
        self._running: dict[str, _Running] = {}
        # Two locks: the one for printing is held while rich takes its own, and rich's drawing
        # thread holds those while it asks for the picture.
        self._state = threading.Lock()
        self._printing = threading.Lock()
        self._live: rich.live.Live | None = None
        if on_terminal(self.console):
            self._live = rich.live.Live(
                console=self.console,
                get_renderable=self._picture,
                refresh_per_second=REFRESHES,
                transient=True,
            )

    def __enter__(self) -> Live:
        """Start to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop to draw and remove the live lines."""
        if self._live is not None:
            self._live.stop()

    @property
    def total(self) -> int | None:
        """How many cases and controls the run has, if that is known yet."""
        with self._state:
            return self._total

    @total.setter
    def total(self, number: int) -> None:
        with self._state:
            self._total = number

    def started(self, case_id: str) -> None:
        """A case is being run from now on."""
        with self._state:
            self._running[case_id] = _Running(time.monotonic())

    def doing(self, case_id: str, text: str) -> None:
        """What the host or the device of a running case is doing just now."""
        with self._state:
            # A word that arrives after the case has ended must not bring its line back.
            if case_id in self._running:
                self._running[case_id].doing = text

    def ended(self, case: CaseResult) -> None:
        """A case or a control has come to its end."""
        with self._printing:
            with self._state:
                self._running.pop(case.id, None)
                self._ended += 1
                left = self._left()
            if self._live is not None and self._live.is_started:
                # say() draws the picture of before once more; the case is to be gone from it.
                self._live.refresh()
            style, judged = _judged(case)
            say(
                self.console,
                f"{one_line(case.id)}: {outcome_words(case.outcome)}, "
                f"{case.total_seconds:.1f} s, {judged}{f' ({left})' if left else ''}",
                style,
                whole=True,
            )

    def note(self, text: str) -> None:
        """Something that the whole run is doing, such as preparing the gadget."""
        with self._printing:
            say(self.console, one_line(text), "dim", whole=True)

    def _left(self) -> str:
        return "" if self._total is None else f"{max(0, self._total - self._ended)} left"

    def _picture(self) -> Group:
        """A line for each running case, cut at the right so that the id stays, and the count."""
        now = time.monotonic()
        with self._state:
            lines = [
                f"{one_line(case_id)}  {now - case.since:4.1f} s  {one_line(case.doing)}"
                for case_id, case in self._running.items()
            ]
            left = self._left()
        if left:
            lines.append(left)
        return Group(*(Text(line, no_wrap=True, overflow="crop") for line in lines))


def _judged(case: CaseResult) -> tuple[str, str]:
    """Style and words."""
    reason = one_line(case.reason)
    if case.control:
        if case.judgement == "kept":
            return "", f"as it must (control {one_line(case.control)})"
        return "bold red", f"CONTROL FAILED: {reason}"
    if is_rig_fault(case):
        return "magenta", f"RIG FAULT: {reason}"
    if case.judgement == "broken":
        return "red", f"BROKEN: {reason}"
    if case.judgement == "not_judged":
        return "yellow", f"not judged: {reason}"
    return "", "as promised"
