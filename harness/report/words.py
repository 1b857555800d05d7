"""What every part of a report says in the same words and the same order."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from harness.outcome.catalogue import REQUIREMENTS
from harness.outcome.kinds import (
    Booted,
    Hung,
    Inconclusive,
    NoBootDevice,
    NoDrive,
    Outcome,
    ResetLoop,
    RigFailed,
    Waiting,
)
from harness.outcome.verdict import CaseResult, Verdict
from harness.owner import printable

_CLASSES: dict[str, type[Outcome]] = {
    cls.kind: cls
    for cls in (
        Booted,
        NoBootDevice,
        NoDrive,
        Waiting,
        Hung,
        ResetLoop,
        Inconclusive,
        RigFailed,
    )
}

_LONGEST = 1000
"""Characters of a sentence. Enough for every one of ours; firmware can write megabytes."""


def one_line(text: str) -> str:
    """Text that may come from the firmware, fit for any terminal and for XML: one line."""
    return printable(" | ".join(line for line in text.splitlines() if line.strip()), _LONGEST)


def outcome_from_json(fields: Mapping[str, Any]) -> Outcome:
    """Read what `Outcome.to_json` gave; fields that this version does not know are left out.

    Raises ValueError for anything else.
    """
    cls = _CLASSES.get(str(fields.get("kind")))
    if cls is None:
        raise ValueError(f"not an outcome: {str(fields)[:80]!r}")
    known = {field.name for field in dataclasses.fields(cls)}
    try:
        return cls(**{name: value for name, value in fields.items() if name in known})
    except TypeError as error:
        raise ValueError(f"not an outcome: {error}") from error


def outcome_words(outcome: Mapping[str, Any] | None) -> str:
    """A word or two, such as "hung (runaway)"; None is "host not started"."""
    if outcome is None:
        return "host not started"
    return one_line(str(outcome_from_json(outcome)))


def in_order(cases: Iterable[CaseResult]) -> list[CaseResult]:
    """Controls first, then the cases as the catalogue orders their requirements, then by id."""
    return sorted(
        cases, key=lambda c: (not c.control, _place(c.requirement), _natural(c.id), c.control)
    )


def verdicts_in_order(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """As the catalogue orders the requirements."""
    return sorted(verdicts, key=lambda v: _place(v.id))


def count(number: int, noun: str) -> str:
    """Such as "1 case" and "2 cases"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _place(requirement: str) -> tuple[int, list[str | int]]:
    known = list(REQUIREMENTS)
    place = known.index(requirement) if requirement in REQUIREMENTS else len(known)
    return place, _natural(requirement)


def _natural(text: str) -> list[str | int]:
    """A sort key that puts 10 after 2."""
    return [int(p) if i % 2 else p for i, p in enumerate(re.split(r"([0-9]+)", text))]
