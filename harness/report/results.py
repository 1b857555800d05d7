"""results.json: the report for other tools. Its shape may be extended, never broken."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.outcome.kinds import RigFailed
from harness.outcome.verdict import CaseResult, Verdict, discounted
from harness.report.folder import RESULTS, ReportFolder
from harness.report.words import in_order, verdicts_in_order

SCHEMA = 1


def write_results(
    folder: ReportFolder,
    *,
    firmware: Mapping[str, Any],
    rig: Mapping[str, Any],
    verdicts: Sequence[Verdict],
    cases: Sequence[CaseResult],
    status: int,
    interrupted: bool = False,
) -> Path:
    """Write results.json, the last file of a report, and declare the report whole.

    `cases` holds the controls too. `status` is the exit status of the run. Raises DiskFull or
    RigFault; there is no results.json then.
    """
    verdicts, cases = discounted(verdicts_in_order(verdicts), in_order(cases))
    told = [(case, _outcome(case)) for case in cases]
    results = {
        "schema": SCHEMA,
        "status": status,
        "interrupted": interrupted,
        "firmware": firmware,
        "rig": rig,
        "requirements": [{"id": v.id, "verdict": v.verdict, "reason": v.reason} for v in verdicts],
        "controls": [
            {"control": case.control, **_case(case, outcome)}
            for case, outcome in told
            if case.control
        ],
        "cases": [
            _case(case, outcome)
            for case, outcome in told
            if outcome is not None and not case.control
        ],
        "unjudged": [
            {
                "id": case.id,
                "requirement": case.requirement,
                "reason": case.reason,
                "judgement": case.judgement,
                "evidence": case.evidence,
            }
            for case, outcome in told
            if outcome is None and not case.control
        ],
    }
    # ASCII, everything else as \u escapes: who looks at the file in a terminal is safe from
    # what the firmware wrote.
    text = json.dumps(_clean(results), indent=2, ensure_ascii=True, allow_nan=False)
    path = folder.write(RESULTS, text.encode("ascii") + b"\n")
    folder.finished()
    return path


def _case(case: CaseResult, outcome: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "id": case.id,
        "requirement": case.requirement,
        "controller": case.controller,
        "bios": case.bios,
        "data_partition": case.data_partition,
        "code_path": case.code_path,
        "outcome": outcome,
        "judgement": case.judgement,
        "reason": case.reason,
        "notes": case.notes,
        "seconds": {"boot": case.boot_seconds, "total": case.total_seconds},
        "evidence": case.evidence,
    }


def _outcome(case: CaseResult) -> Mapping[str, Any] | None:
    """What happened; None when no host was started and that was nobody's fault.

    A rig that failed before it started a host, or that could not run its own control, is a
    rig fault all the same.
    """
    if case.outcome is None and (case.judgement == "rig_fault" or case.control):
        return RigFailed(why=case.reason).to_json()
    return case.outcome


def _clean(value: Any) -> Any:
    """`value` as JSON can have it.

    A path that is no UTF-8 has lone surrogates in it (PEP 383), which RFC 8259 (8.2) leaves
    undefined: they are written as visible escapes.
    """
    if isinstance(value, str | Path):
        return str(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
