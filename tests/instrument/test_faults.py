"""Each seeded fault breaks the requirements that it names, and no others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import BREAKS, Validate

from harness.firmware import breaks, faults

# One controller, shape and kind of data partition are enough to tell requirements apart; a
# partition without 55AA on a strict host tells EMPTY-4 and EMPTY-5 from the rest.
CASES = (
    "hid_and_storage-exfat or gate or strict-blank or MEDIA-1 or TOGGLE-3 "
    "or SAFE-1 and not image_chosen"
)


@pytest.mark.rig
@pytest.mark.parametrize("firmware", ["fixed", "stock", *faults()])
def test_breaks_what_it_names(
    validate: Validate, record_property: Callable[[str, object], None], firmware: str
) -> None:
    expected = sorted(breaks(firmware))
    run = validate("--firmware", firmware, "--controller", "ehci", "-k", CASES)
    broken = sorted(name for name, verdict in run.verdicts.items() if verdict == "broken")
    record_property(BREAKS, (firmware, expected, broken))
    assert broken == expected, run.stdout
    assert run.status == (1 if expected else 0), run.stdout


def test_every_requirement_has_a_fault() -> None:
    from harness.outcome.catalogue import REQUIREMENTS

    assert set(REQUIREMENTS) == {name for fault in faults() for name in breaks(fault)}
