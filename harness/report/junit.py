"""junit.xml: the report for CI servers. Suite "requirements", then suite "controls"."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from harness.outcome.verdict import CaseResult, Verdict, discounted, is_rig_fault
from harness.report.folder import JUNIT, ReportFolder
from harness.report.words import in_order, one_line, outcome_words, verdicts_in_order

_Result = Error | Failure | Skipped


def write_junit(
    folder: ReportFolder, *, verdicts: Sequence[Verdict], cases: Sequence[CaseResult]
) -> Path:
    """Write junit.xml, one testcase for each case; `cases` holds the controls too.

    Broken is a failure; rig fault, inconclusive and a failed control are errors; not judged
    is skipped, with its reason. A requirement without any case is a skipped testcase of its
    own, or nobody would miss it. Times are in seconds. Raises DiskFull or RigFault.
    """
    verdicts, cases = discounted(verdicts_in_order(verdicts), in_order(cases))
    requirements, controls = TestSuite("requirements"), TestSuite("controls")
    for case in cases:
        (controls if case.control else requirements).add_testcase(_testcase(case))
    run = {case.requirement for case in cases}
    for verdict in verdicts:
        if verdict.id not in run:
            testcase = TestCase(verdict.id, verdict.id, 0.0)
            testcase.result = [_result(Skipped, verdict.reason, verdict.verdict)]
            requirements.add_testcase(testcase)
    xml = JUnitXml("Bootgate")
    xml.add_testsuite(requirements)
    xml.add_testsuite(controls)
    content = io.BytesIO()
    xml.write(content, pretty=True)
    return folder.write(JUNIT, content.getvalue())


def _testcase(case: CaseResult) -> TestCase:
    # XML 1.0 (2.2) has no way to write most control characters: one_line escapes them.
    testcase = TestCase(
        one_line(case.id), one_line(case.requirement or "control"), round(case.total_seconds, 3)
    )
    said = [f"outcome: {outcome_words(case.outcome)}"]
    said += [f"evidence: {one_line(path)}" for path in case.evidence]
    testcase.system_out = "\n".join(said)
    kind = _kind(case)
    if kind is not None:
        testcase.result = [_result(kind, case.reason, case.judgement)]
    return testcase


def _kind(case: CaseResult) -> type[_Result] | None:
    if is_rig_fault(case) or (case.control and case.judgement != "kept"):
        return Error
    if case.judgement == "broken":
        return Failure
    return Skipped if case.judgement == "not_judged" else None


def _result(kind: type[_Result], reason: str, type_: str) -> _Result:
    result = kind(one_line(reason), type_)
    result.text = one_line(reason)
    return result
