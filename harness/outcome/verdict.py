"""Outcomes -> verdicts -> exit status."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.outcome.kinds import Inconclusive, RigFailed

Judgement = Literal["kept", "broken", "not_judged", "rig_fault"]
"""Of one case: as promised, contradicting it, saying nothing about it, or the rig's own fault."""


@dataclass(frozen=True)
class CaseResult:
    """One case and what it says about its requirement, as it goes into results.json.

    `requirement` is empty for a control. `outcome` is `Outcome.to_json`, or None when no host
    was started because the case could not be judged. Times are in seconds, `evidence` are
    paths relative to the report folder, `notes` are for the user whatever the judgement.
    `code_path` is the part of the firmware that made the drive what it was, such as "unmount".
    """

    id: str
    requirement: str
    controller: str | None
    bios: str
    data_partition: str | None
    outcome: dict[str, Any] | None
    judgement: Judgement
    reason: str
    boot_seconds: float
    total_seconds: float
    evidence: tuple[str, ...] = ()
    control: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    code_path: str = ""


@dataclass(frozen=True)
class Verdict:
    """Of one requirement; `reason` is one sentence, empty when it is kept."""

    id: str
    verdict: Literal["kept", "broken", "not_judged"]
    reason: str


def is_rig_fault(case: CaseResult) -> bool:
    """Whether the rig is to blame for a case: it failed, or the outcome could not be proven.

    A violation that was proven all the same, such as a LUN on a partition, stays the firmware's.
    """
    if case.judgement == "broken":
        return False
    kind = case.outcome["kind"] if case.outcome is not None else ""
    return case.judgement == "rig_fault" or kind in (RigFailed.kind, Inconclusive.kind)


def verdict(requirement: str, cases: Sequence[CaseResult]) -> Verdict:
    """Kept when every case came out as promised, broken when one contradicts it."""
    broken = [c for c in cases if c.judgement == "broken"]
    if broken:
        more = len(broken) - 1
        others = f" (and {more} more {'case' if more == 1 else 'cases'})" if more else ""
        return Verdict(requirement, "broken", f"{broken[0].id}: {broken[0].reason}{others}")
    unjudged = [c for c in cases if c.judgement != "kept" or is_rig_fault(c)]
    if unjudged:
        return Verdict(requirement, "not_judged", f"{unjudged[0].id}: {unjudged[0].reason}")
    if not cases:
        return Verdict(requirement, "not_judged", "no case of it was run")
    return Verdict(requirement, "kept", "")


def failed_controls(cases: Iterable[CaseResult]) -> tuple[CaseResult, ...]:
    """The controls that did not come out: the instrument is out of order."""
    return tuple(c for c in cases if c.control and (c.judgement != "kept" or is_rig_fault(c)))


def discounted(
    verdicts: Sequence[Verdict], cases: Sequence[CaseResult]
) -> tuple[list[Verdict], list[CaseResult]]:
    """Both, in their order, with nothing judged if a control failed.

    An instrument that is out of order has neither proven nor contradicted anything: what
    looked kept or broken is not judged then.
    """
    failed = failed_controls(cases)
    if not failed:
        return list(verdicts), list(cases)
    why = f"the instrument is out of order: control {failed[0].control} failed"
    return (
        [Verdict(v.id, "not_judged", why) for v in verdicts],
        [
            dataclasses.replace(c, judgement="not_judged", reason=why)
            if not c.control and c.judgement in ("kept", "broken")
            else c
            for c in cases
        ],
    )


def exit_status(
    verdicts: Sequence[Verdict], cases: Sequence[CaseResult], *, require_all: bool
) -> int:
    """0, 1 or 3 as DESIGN's contract has it.

    With a failed control nothing has been judged, so nothing can be broken.
    """
    if failed_controls(cases):
        return 3
    if any(v.verdict == "broken" for v in verdicts):
        return 1
    if any(map(is_rig_fault, cases)):
        return 3
    if not any(v.verdict == "kept" for v in verdicts):
        return 3
    if require_all and any(v.verdict == "not_judged" for v in verdicts):
        return 3
    return 0
