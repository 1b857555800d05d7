"""The end of a run as its user sees it: what was promised, what happened, what to do now."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from harness.outcome.catalogue import REQUIREMENTS
from harness.outcome.verdict import (
    CaseResult,
    Verdict,
    discounted,
    failed_controls,
    is_rig_fault,
)
from harness.owner import printable
from harness.report.terminal import on_terminal, say
from harness.report.words import count, in_order, one_line, outcome_words, verdicts_in_order

# The worst first: so they are listed in a cell. Readable without colour, in any encoding.
_STYLES = {
    "BROKEN": "bold red",
    "RIG FAULT": "bold magenta",
    "not judged": "yellow",
    "kept": "green",
}
_MARKS = {
    "broken": "BROKEN",
    "rig_fault": "RIG FAULT",
    "not_judged": "not judged",
    "kept": "kept",
}

_ENDLESS = 100_000
"""Columns of what is no terminal: a log has no right margin, and ids are searched for."""

_NAMED = 3
"""How many cases with one and the same rig fault are named."""


@dataclass(frozen=True)
class Run:
    """What the summary says of the run besides its cases.

    All but `report`, `seconds`, `status` and `interrupted` is as the user gave it, `bios` None when
    it was not given: the id of a case says its BIOS then. `report` is the report folder,
    `seconds` the wall time, `status` the exit status.
    """

    firmware: str
    bios: str | None
    report: Path
    seconds: float
    status: int
    interrupted: bool = False
    controllers: Sequence[str] = ()
    full: bool = False
    seed: int | None = None
    server: Path | None = None
    overlay: Path | None = None


def print_summary(
    console: Console, run: Run, verdicts: Sequence[Verdict], cases: Sequence[CaseResult]
) -> None:
    """Print the summary; `cases` holds the controls too. Its last line is the verdict."""
    verdicts, cases = discounted(verdicts_in_order(verdicts), in_order(cases))
    failed = failed_controls(cases)
    for control in failed:
        say(
            console,
            f"the instrument is out of order: control {one_line(control.control)} failed: "
            f"{one_line(control.reason)}",
            "bold red",
        )
        _say_evidence(console, run, control)
    cases = [case for case in cases if not case.control]
    if verdicts:
        say_table(console, _table(verdicts, cases))
    for case in cases:
        for note in case.notes:
            say(console, f"{one_line(case.id)}: {one_line(note)}")
    for verdict in verdicts:
        if verdict.verdict == "broken":
            _say_broken(console, run, verdict, [c for c in cases if c.requirement == verdict.id])
    _say_rig_faults(console, run, [case for case in cases if is_rig_fault(case)])
    for verdict in verdicts:
        if verdict.verdict == "not_judged":
            say(console, f"not judged: {verdict.id}: {one_line(verdict.reason)}", "yellow")
    style, sentence = _last_line(run, verdicts, cases, out_of_order=bool(failed))
    say(console, sentence, style)


def say_table(console: Console, table: Table) -> None:
    """Print the table; where nobody watches, as wide as it is, so that no word is split."""
    options = console.options
    if not on_terminal(console):
        options = options.update(width=_ENDLESS)
    console.print()
    console.print(Segments(console.render(table, options)), soft_wrap=True)
    console.print()


def _table(verdicts: Sequence[Verdict], cases: Sequence[CaseResult]) -> Table:
    """Requirement x controller."""
    columns = sorted({case.controller or "" for case in cases})
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("requirement", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for column in columns:
        table.add_column(Text(one_line(column) or "no host"), overflow="fold")
    for verdict in verdicts:
        row = [Text(one_line(verdict.id)), _cell([(_MARKS[verdict.verdict], "")])]
        for column in columns:
            here = [
                c for c in cases if c.requirement == verdict.id and (c.controller or "") == column
            ]
            row.append(_cell([(_mark(c), outcome_words(c.outcome)) for c in here]))
        table.add_row(*row)
    return table


def _cell(seen: Sequence[tuple[str, str]]) -> Text:
    """Mark and outcome if all agree, else how many of each."""
    text = Text()
    counted = Counter(seen)
    for mark, style in _STYLES.items():
        group = {words: number for (m, words), number in counted.items() if m == mark}
        if not group:
            continue
        if text:
            text.append("; ")
        text.append(mark, style)
        if len(counted) > 1:
            text.append(": " + ", ".join(f"{n} {words}" for words, n in sorted(group.items())))
        else:
            text.append("".join(f": {w}" for w in group if w and w != mark.lower()))
    return text


def _mark(case: CaseResult) -> str:
    return "RIG FAULT" if is_rig_fault(case) else _MARKS[case.judgement]


def _say_broken(console: Console, run: Run, verdict: Verdict, cases: Sequence[CaseResult]) -> None:
    """What was promised, what came instead, how to see it again and what to look at."""
    promise = REQUIREMENTS.get(verdict.id, "a requirement that is not in the catalogue")
    broken = [case for case in cases if case.judgement == "broken"]
    if not broken:
        say(console, f"{verdict.id} is BROKEN ({promise}): {one_line(verdict.reason)}", "red")
        return
    first = broken[0]
    more = len(broken) - 1
    others = f" (and {count(more, 'more case')})" if more else ""
    text = f"{verdict.id} is BROKEN{_code_paths(broken)} ({promise})"
    text += f": in {one_line(first.id)}: {one_line(first.reason)}"
    say(console, f"{text}{others}", "red")
    command = ["ci/validate", "--firmware", run.firmware]
    command += ["--server", str(run.server)] if run.server else []
    command += ["--overlay", str(run.overlay)] if run.overlay else []
    if run.bios is not None:
        command += ["--bios", run.bios]
    if run.controllers:
        # Some cases are run on one controller, which is chosen among these; others only if theirs
        # is among them.
        for controller in [first.controller] if first.controller else run.controllers:
            command += ["--controller", controller]
    if run.full:
        command += ["--full"]
    if run.seed is not None:
        command += ["--seed", str(run.seed)]
    command += ["-k", first.id]
    say(console, f"    run it again: {printable(shlex.join(command), _ENDLESS)}", whole=True)
    _say_evidence(console, run, first)


def _code_paths(cases: Sequence[CaseResult]) -> str:
    """Which parts of the firmware did it, such as " by its boot script, unmount and toggle"."""
    paths = [one_line(path) for path in dict.fromkeys(c.code_path for c in cases) if path]
    *first, last = paths or [""]
    return f" by its {', '.join(first)}{' and ' if first else ''}{last}" if last else ""


def _say_rig_faults(console: Console, run: Run, faults: Sequence[CaseResult]) -> None:
    """Cases with one and the same fault are told together: a broken rig fails them all."""
    reasons: dict[str, list[CaseResult]] = {}
    for case in faults:
        reasons.setdefault(one_line(case.reason), []).append(case)
    for reason, cases in reasons.items():
        names = ", ".join(one_line(case.id) for case in cases[:_NAMED])
        more = f" and {count(len(cases) - _NAMED, 'more case')}" if len(cases) > _NAMED else ""
        say(console, f"rig fault: {names}{more}: {reason}", "magenta")
        _say_evidence(console, run, cases[0])


def _say_evidence(console: Console, run: Run, case: CaseResult) -> None:
    if not case.evidence:
        say(console, "    evidence:     none was recorded", whole=True)
        return
    folder = os.path.commonpath([os.path.dirname(path) for path in case.evidence])
    say(console, f"    evidence:     {printable(str(run.report / folder), _ENDLESS)}", whole=True)


def _last_line(
    run: Run, verdicts: Sequence[Verdict], cases: Sequence[CaseResult], *, out_of_order: bool
) -> tuple[str, str]:
    """Style and sentence; says what the exit status says."""
    ids = {
        which: [v.id for v in verdicts if v.verdict == which]
        for which in ("kept", "broken", "not_judged")
    }
    judged = [case for case in cases if case.judgement in ("kept", "broken")]
    spent = f"({count(len(judged), 'case')}, {run.seconds:.{0 if run.seconds >= 10 else 1}f} s)"
    unjudged = f"; not judged: {', '.join(ids['not_judged'])}" if ids["not_judged"] else ""
    if run.status == 1:
        cut = "; the run was interrupted" if run.interrupted else ""
        return "bold red", (
            f"NOT safe to ship: {len(ids['broken'])} of {count(len(verdicts), 'requirement')} "
            f"broken: {', '.join(ids['broken'])} {spent}{cut}"
        )
    if run.status == 0 and not run.interrupted:
        kept = count(len(ids["kept"]), "requirement")
        return "bold green", f"safe to ship as far as judged: {kept} kept {spent}{unjudged}"
    why = "the instrument is out of order" if out_of_order else _why_none(run, ids, cases)
    return "bold yellow", f"no verdict: {why} {spent}"


def _why_none(run: Run, ids: dict[str, list[str]], cases: Sequence[CaseResult]) -> str:
    if run.interrupted:
        return "the run was interrupted"
    faults = sum(map(is_rig_fault, cases))
    if faults:
        return f"the rig failed in {count(faults, 'case')}"
    if not ids["kept"]:
        return "no requirement was judged"
    if ids["not_judged"]:
        return f"every requirement was to be judged, and was not: {', '.join(ids['not_judged'])}"
    return f"the run ended with status {run.status}"
