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

GETTING = {"SAFE-2": "SAFE-2/boot_script"}
USING = {"MEDIA-6": "MEDIA-6/rescue-disk", "MEDIA-1": BOOT_SCRIPT["MEDIA-1"]}
COSTING = {"EMPTY-7": "EMPTY-7"}
OVERLAPPING = {name: name for name in ("LIFE-1", "LIFE-3", "LIFE-4")}
TYPING = {"INPUT-1": "INPUT-1"}
"""Requirements that take long, and need a firmware with which a host boots."""

MOUNTING = {"EMPTY-2": "EMPTY-2/ehci", "SAFE-4": "SAFE-4/disk", "MEDIA-3": "MEDIA-3/disk"}
KINDS = {"MEDIA-2": "MEDIA-2", "MEDIA-4": "MEDIA-4"}
CHANGES = {"MEDIA-5": "MEDIA-5/both_ways"}
HOLDING = {"MEDIA-7": "MEDIA-7/disk"}
UNDER_WAY = {"LIFE-2": "LIFE-2/quick_unmount-08"}
SWITCHING = {"EMPTY-3": "EMPTY-3/ehci", "TOGGLE-1": "TOGGLE-1/ehci"}
FIFTY_TIMES = {"TOGGLE-2": "TOGGLE-2"}
TELLING = {"EMPTY-8": "EMPTY-8"}
"""What the server does, by its parts."""

OF_THE_SCRIPT = (WRITING, GETTING, USING, COSTING, OVERLAPPING, TYPING)
OF_THE_SERVER = (
    *(MOUNTING, KINDS, CHANGES, HOLDING, UNDER_WAY),
    *(SWITCHING, FIFTY_TIMES, TELLING),
)
ALL = dict(BOOT_SCRIPT)
for group in (*OF_THE_SCRIPT, *OF_THE_SERVER):
    ALL |= group
SHORT = (GETTING, MOUNTING, UNDER_WAY, SWITCHING, TELLING)
"""What stock is judged by besides its boot script: where the defect shows, and what is near."""

NEAREST = ("EMPTY-1", "SAFE-1", "MEDIA-1")
"""What a fault of the boot script has to leave alone, if it does not break it."""

ALIKE = ("EMPTY-1", "EMPTY-6", "SAFE-1")
"""What any tree that leaves something running could break."""

SHOWN_BY = {
    "faults/mounted_deleted": "delete_of_what_is_mounted",
    "faults/partition_on_line_feed": "gate_of_one_line_feed",
    "faults/partition_when_absent": "no_gate_file",
    "faults/partition_when_missing": "chosen_image_missing",
    "faults/path_cut_at_blank": "name_with_a_blank",
}
"""Faults that only another case of theirs shows. The firmwares without a fault of their own, fixed
and stock, get all of these."""


def judged_with(firmware: str) -> dict[str, str]:
    """The requirements that a tree is judged by, each with the case that is run.

    All that is near to the first that it breaks: what is further away, and follows from that, is
    named in its file too, and not run here.
    """
    if firmware == "fixed":
        return ALL
    if firmware == "stock":
        return BOOT_SCRIPT | {name: case for group in SHORT for name, case in group.items()}
    first, *others = breaks(firmware)
    if first in BOOT_SCRIPT:
        return {n: BOOT_SCRIPT[n] for n in BOOT_SCRIPT if n in NEAREST or n in breaks(firmware)}
    (near,) = (group for group in (*OF_THE_SCRIPT, *OF_THE_SERVER) if first in group)
    if near in OF_THE_SCRIPT:
        return {name: ALL[name] for name in ALIKE} | near
    # The boot script is that of fixed (tests/instrument/test_firmware_trees.py).
    return near | (UNDER_WAY if UNDER_WAY.keys() & set(others) else {})


SEED = 4
"""Which moments of LIFE are tried, besides the default ones, with the firmware that keeps all."""


@pytest.mark.rig
@pytest.mark.long
@pytest.mark.parametrize("firmware", ["fixed", "stock", *faults()])
def test_breaks_what_it_names(
    validate: Validate, record_property: Callable[[str, object], None], firmware: str
) -> None:
    others = [SHOWN_BY.get(firmware)] if firmware.startswith("faults/") else SHOWN_BY.values()
    judged = judged_with(firmware)
    expected = sorted(set(breaks(firmware)) & judged.keys())
    words = [*judged.values(), *filter(None, others)]
    more = ["--seed", str(SEED)] if firmware == "fixed" else []
    chosen = ["--controller", "ehci", "-k", " or ".join(words), *more]
    # The two without a fault of their own stand for the instrument, too.
    controlled = firmware in ("fixed", "stock")
    run = validate("--firmware", firmware, *chosen, timeout=900, controlled=controlled)
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
