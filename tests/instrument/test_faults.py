"""Each seeded fault breaks the requirements that it names, and no others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import BREAKS, Validate

from harness.firmware import breaks, faults
from harness.outcome.catalogue import REQUIREMENTS

# One case of each requirement tells them apart, on one controller: a partition without 55AA on a
# strict host for EMPTY-4 and EMPTY-5.
CASES = "hid_and_storage-exfat or strict-blank or MEDIA-1/ehci or TOGGLE-3 or nothing_chosen"

LIVELY = ("LIFE", "INPUT", "EMPTY-7")
"""Requirements of which one case is run. They take long, and need a firmware with which a host
boots: only fixed and the trees that break one get them, those with what else they could break."""
ALIKE = "hid_and_storage-exfat or nothing_chosen"

OTHERS = {name for name in REQUIREMENTS if not name.startswith(LIVELY)}
ALIKE_AND_LIVELY = {"EMPTY-1", "EMPTY-6", "SAFE-1", *(set(REQUIREMENTS) - OTHERS)}

SHOWN_BY = {
    "faults/partition_on_line_feed": "gate_of_one_line_feed",
    "faults/partition_when_absent": "no_gate_file",
    "faults/partition_when_missing": "chosen_image_missing",
    "faults/path_cut_at_blank": "name_with_a_blank",
}
"""Faults that only another case of theirs shows. The firmwares without a fault of their own, fixed
and stock, get all of these."""


SEED = 4
"""Which moments of LIFE are tried, besides the default ones, with the firmware that keeps all."""


@pytest.mark.rig
@pytest.mark.long
@pytest.mark.parametrize("firmware", ["fixed", "stock", *faults()])
def test_breaks_what_it_names(
    validate: Validate, record_property: Callable[[str, object], None], firmware: str
) -> None:
    expected = sorted(breaks(firmware))
    others = [SHOWN_BY.get(firmware)] if firmware.startswith("faults/") else SHOWN_BY.values()
    alive = any(name.startswith(LIVELY) for name in expected)
    words = [ALIKE, *LIVELY] if alive else [CASES, *filter(None, others)]
    words += LIVELY if firmware == "fixed" else []
    more = ["--seed", str(SEED)] if firmware == "fixed" else []
    chosen = ["--controller", "ehci", "-k", " or ".join(words)]
    run = validate("--firmware", firmware, *chosen, *more)
    judged = set(REQUIREMENTS) if firmware == "fixed" else OTHERS
    judged = ALIKE_AND_LIVELY if alive else judged
    assert set(run.verdicts) == judged, run.stdout
    broken, unjudged = (
        sorted(name for name, verdict in run.verdicts.items() if verdict == wanted)
        for wanted in ("broken", "not_judged")
    )
    record_property(BREAKS, (firmware, expected, broken, unjudged))
    assert broken == expected, run.stdout
    assert run.status == (1 if expected else 0), run.stdout


def test_every_requirement_has_a_fault() -> None:
    assert set(REQUIREMENTS) == {name for fault in faults() for name in breaks(fault)}
