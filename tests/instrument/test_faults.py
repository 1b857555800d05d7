"""Each seeded fault breaks the requirements that it names, and no others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import BREAKS, Validate

from harness.firmware import breaks, faults
from harness.outcome.catalogue import REQUIREMENTS

# One case of each requirement tells them apart, on one controller.
BOOT_SCRIPT = {
    "EMPTY-1": "EMPTY-1/hid_and_storage-exfat",
    # A partition without 55AA on a strict host.
    "EMPTY-4": "EMPTY-4/strict-blank",
    "EMPTY-5": "EMPTY-5/strict-blank",
    "EMPTY-6": "EMPTY-6/hid_and_storage-exfat",
    "SAFE-1": "SAFE-1/nothing_chosen",
    "MEDIA-1": "MEDIA-1/ehci",
    "TOGGLE-3": "TOGGLE-3",
}
"""What depends on the boot script and the gate files alone."""

WRITING = {"SAFE-3": "SAFE-3/a_read_only"}
"""Likewise: only trees that break it, for it is asked of the drive itself."""

LIVELY = {name: name for name in ("EMPTY-7", "LIFE-1", "LIFE-3", "LIFE-4", "INPUT-1")}
"""Requirements that take long, and need a firmware with which a host boots: only fixed and the
trees that break one get them, those with what else they could break."""

MOUNTING = {"EMPTY-2": "EMPTY-2/ehci", "SAFE-4": "SAFE-4/disk", "MEDIA-3": "MEDIA-3/disk"}
KINDS = {"MEDIA-2": "MEDIA-2", "MEDIA-4": "MEDIA-4"}
CHANGES = {"MEDIA-5": "MEDIA-5/both_ways"}
SWITCHING = {"EMPTY-3": "EMPTY-3/ehci", "TOGGLE-1": "TOGGLE-1/ehci"}
FIFTY_TIMES = {"TOGGLE-2": "TOGGLE-2"}
TELLING = {"EMPTY-8": "EMPTY-8"}
HOLDING = {"MEDIA-7": "MEDIA-7/disk"}
UNDER_WAY = {"LIFE-2": "LIFE-2/quick_unmount-08"}
"""What the server does, by its parts. A tree that breaks one in a group is judged by all in it."""

SERVED = (MOUNTING, KINDS, CHANGES, SWITCHING, FIFTY_TIMES, TELLING, HOLDING, UNDER_WAY)

ALL = (
    BOOT_SCRIPT
    | WRITING
    | LIVELY
    | {name: case for group in SERVED for name, case in group.items()}
)
ALIKE = ("EMPTY-1", "EMPTY-6", "SAFE-1")
"""What any tree that leaves something running could break."""

SHOWN_BY = {
    "faults/partition_on_line_feed": "gate_of_one_line_feed",
    "faults/partition_when_absent": "no_gate_file",
    "faults/partition_when_missing": "chosen_image_missing",
    "faults/path_cut_at_blank": "name_with_a_blank",
}
"""Faults that only another case of theirs shows. The firmwares without a fault of their own, fixed
and stock, get all of these."""


def judged_with(firmware: str) -> dict[str, str]:
    """The requirements that a tree is judged by, each with the case that is run."""
    broken = set(breaks(firmware))
    if firmware == "fixed":
        return ALL
    if firmware == "stock":
        return {name: case for name, case in ALL.items() if name not in LIVELY}
    if broken & LIVELY.keys():
        return {name: ALL[name] for name in ALIKE} | LIVELY
    if broken & WRITING.keys():
        return BOOT_SCRIPT | WRITING
    if broken & BOOT_SCRIPT.keys():
        return BOOT_SCRIPT
    # The boot script is that of fixed (tests/instrument/test_firmware_trees.py).
    groups = [group for group in SERVED if broken & group.keys()]
    return {name: case for group in groups for name, case in group.items()}


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
    judged = judged_with(firmware)
    words = [*judged.values(), *filter(None, others)]
    more = ["--seed", str(SEED)] if firmware == "fixed" else []
    run = validate("--firmware", firmware, "--controller", "ehci", "-k", " or ".join(words), *more)
    assert run.verdicts.keys() == judged.keys(), run.stdout
    broken, unjudged = (
        sorted(name for name, verdict in run.verdicts.items() if verdict == wanted)
        for wanted in ("broken", "not_judged")
    )
    record_property(BREAKS, (firmware, expected, broken, unjudged))
    assert broken == expected, run.stdout
    assert run.status == (1 if expected else 0), run.stdout


def test_every_requirement_has_a_fault() -> None:
    assert ALL.keys() == REQUIREMENTS.keys()
    assert set(REQUIREMENTS) == {name for fault in faults() for name in breaks(fault)}
