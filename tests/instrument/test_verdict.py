"""Outcomes to verdicts to exit status."""

from __future__ import annotations

import dataclasses

import pytest

from harness.outcome.verdict import (
    CaseResult,
    Judgement,
    Verdict,
    exit_status,
    failed_controls,
    is_rig_fault,
    verdict,
)


def case(judgement: Judgement, requirement: str = "EMPTY-1", control: str = "") -> CaseResult:
    return CaseResult(
        id=f"{requirement or control}/uhci",
        requirement=requirement,
        controller="uhci",
        bios="seabios",
        data_partition="exfat",
        outcome={"kind": "booted"},
        judgement=judgement,
        reason="" if judgement == "kept" else f"because {judgement}",
        boot_seconds=1.0,
        total_seconds=2.0,
        control=control,
    )


@pytest.mark.parametrize(
    ("judgements", "expected"),
    [
        (["kept", "kept"], "kept"),
        (["kept", "broken"], "broken"),
        (["broken", "rig_fault", "not_judged"], "broken"),
        (["kept", "not_judged"], "not_judged"),
        (["kept", "rig_fault"], "not_judged"),
        (["rig_fault"], "not_judged"),
        ([], "not_judged"),
    ],
)
def test_verdict_of_cases(judgements: list[Judgement], expected: str) -> None:
    found = verdict("EMPTY-1", [case(j) for j in judgements])
    assert found.id == "EMPTY-1"
    assert found.verdict == expected
    assert bool(found.reason) == (expected != "kept")


def test_a_verdict_names_the_first_case_that_decided_it_and_how_many_more() -> None:
    broken = verdict("EMPTY-1", [case("not_judged"), *[case("broken")] * 3])
    assert broken.reason == "EMPTY-1/uhci: because broken (and 2 more cases)"
    alone = verdict("EMPTY-1", [case("kept"), case("broken")])
    assert alone.reason == "EMPTY-1/uhci: because broken"
    unjudged = verdict("EMPTY-1", [case("kept"), case("rig_fault"), case("not_judged")])
    assert unjudged.reason == "EMPTY-1/uhci: because rig_fault"


CONTROL_KEPT = case("kept", "", "CONTROL-1")


@pytest.mark.parametrize(
    ("cases", "status", "with_require_all"),
    [
        ([case("kept")], 0, 0),
        ([case("kept"), CONTROL_KEPT], 0, 0),
        ([case("broken")], 1, 1),
        ([case("broken"), case("rig_fault")], 1, 1),
        ([case("broken"), case("rig_fault", "EMPTY-2")], 1, 1),
        ([case("kept"), case("rig_fault")], 3, 3),
        ([case("kept"), case("rig_fault", "EMPTY-2")], 3, 3),
        ([case("kept"), case("not_judged", "EMPTY-2")], 0, 3),
        ([case("not_judged")], 3, 3),
        ([], 3, 3),
        ([CONTROL_KEPT], 3, 3),
        # With the instrument out of order nothing has been judged.
        ([case("kept"), case("rig_fault", "", "CONTROL-1")], 3, 3),
        ([case("broken"), case("rig_fault", "", "CONTROL-1")], 3, 3),
        ([case("broken"), case("not_judged", "", "CONTROL-1")], 3, 3),
        ([case("broken"), CONTROL_KEPT], 1, 1),
    ],
)
def test_exit_status(cases: list[CaseResult], status: int, with_require_all: int) -> None:
    requirements = {c.requirement for c in cases if c.requirement}
    verdicts = [verdict(name, [c for c in cases if c.requirement == name]) for name in requirements]
    assert exit_status(verdicts, cases, require_all=False) == status
    assert exit_status(verdicts, cases, require_all=True) == with_require_all


def test_a_requirement_without_any_case_counts_for_require_all() -> None:
    verdicts = [Verdict("EMPTY-1", "kept", ""), verdict("EMPTY-2", [])]
    assert exit_status(verdicts, [case("kept")], require_all=False) == 0
    assert exit_status(verdicts, [case("kept")], require_all=True) == 3


@pytest.mark.parametrize("kind", ["inconclusive", "rig_fault"])
@pytest.mark.parametrize(
    ("judgement", "fault", "found", "status"),
    [
        ("kept", True, "not_judged", 3),
        ("not_judged", True, "not_judged", 3),
        ("rig_fault", True, "not_judged", 3),
        # Proven beside an outcome that is not.
        ("broken", False, "broken", 1),
    ],
)
def test_an_outcome_that_was_not_proven_keeps_no_promise(
    kind: str, judgement: Judgement, fault: bool, found: str, status: int
) -> None:
    unproven = dataclasses.replace(case(judgement), outcome={"kind": kind})
    assert is_rig_fault(unproven) == fault
    of_it = verdict("EMPTY-1", [unproven])
    assert of_it.verdict == found
    assert exit_status([of_it, Verdict("X", "kept", "")], [unproven], require_all=False) == status
    assert failed_controls([dataclasses.replace(unproven, control="C")])


def test_only_controls_fail_as_controls() -> None:
    failed = case("rig_fault", "", "CONTROL-1")
    assert failed_controls([case("rig_fault"), CONTROL_KEPT, failed]) == (failed,)
