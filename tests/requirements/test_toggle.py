"""TOGGLE: switching the virtual disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from harness.errors import NotJudged
from harness.firmware import Gate, Shape
from harness.host.pc import CONTROLLERS
from harness.outcome.kinds import NEXT_DEVICE, Booted
from harness.owner import printable
from harness.plugin import early, elsewhere, requirement
from harness.rig import Rig

# There is no drive: what is left to go wrong differs between the oldest controllers least.
SITUATIONS = [
    pytest.param(c, marks=() if c in ("ehci", "xhci") else elsewhere) for c in CONTROLLERS
]


@requirement("TOGGLE-1")
@pytest.mark.parametrize(
    "controller", [pytest.param(c, marks=() if c == "ehci" else elsewhere) for c in CONTROLLERS]
)
def test_host_boots_when_the_server_switched_the_disk_off(rig: Rig, controller: str) -> None:
    rig.gadget.start(gate=Gate.EMPTY, shape=Shape.FACTORY)
    server = rig.gadget.serve()
    before, drives = rig.gadget.functions, rig.gadget.seen_drives
    server.switch_disk(on=False)
    after = rig.gadget.functions
    plugged = rig.gadget.plugged
    boot = rig.host.boot(controller)
    assert plugged, "the disk was switched off, and the gadget is not bound any more"
    others = tuple(name for name in before if name not in drives)
    assert after == others, f"{said(others)} should be left of the gadget; it has {said(after)}"
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()


TIMES = 50


@early
@requirement("TOGGLE-2")
def test_switching_leaves_nothing_behind(rig: Rig, fast_controller: str) -> None:
    """The first round makes what stays for good, such as the function that is not used."""
    rig.gadget.start(gate=Gate.EMPTY)
    server = rig.gadget.serve()
    said_on = server.toggle_disk() + server.toggle_disk()
    before = rig.gadget.left(lambda seen: False)
    said_on += server.toggle_disk(2 * TIMES - 2)
    after = rig.gadget.left(lambda seen: not changes(before, seen))
    boot = rig.host.boot(fast_controller)
    assert said_on == [False, True] * TIMES, f"the server said of each round: {said_on}"
    assert not changes(before, after), f"after {TIMES} rounds: {changes(before, after)}"
    assert boot.asked.asked_the_drive, f"after {TIMES} rounds the drive answers nothing"


def said(functions: Sequence[str]) -> str:
    return ", ".join(map(printable, functions)) or "nothing"


def changes(before: Sequence[str], after: Sequence[str]) -> str:
    gone, new = Counter(before) - Counter(after), Counter(after) - Counter(before)
    told = [f"{printable(line, 200)} is gone" for line in gone.elements()]
    told += [f"{printable(line, 200)} is new" for line in new.elements()]
    return "; ".join(told)


@requirement("TOGGLE-3")
@pytest.mark.parametrize("controller", SITUATIONS)
def test_host_boots_when_the_gate_file_was_deleted(rig: Rig, controller: str) -> None:
    rig.gadget.start(gate=Gate.ABSENT)
    boot = rig.host.boot(controller)
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()
    if not rig.gadget.plugged:
        raise NotJudged("the host booted, but the firmware had not plugged its gadget in")
