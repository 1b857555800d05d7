"""TOGGLE: switching the virtual disk."""

from __future__ import annotations

import pytest

from harness.errors import NotJudged
from harness.firmware import Gate
from harness.host.pc import CONTROLLERS
from harness.outcome.kinds import NEXT_DEVICE, Booted
from harness.plugin import full, requirement
from harness.rig import Rig

# There is no drive: what is left to go wrong differs between the oldest controllers least.
SITUATIONS = [pytest.param(c, marks=() if c in ("ehci", "xhci") else full) for c in CONTROLLERS]


@requirement("TOGGLE-3")
@pytest.mark.parametrize("controller", SITUATIONS)
def test_host_boots_when_the_gate_file_was_deleted(rig: Rig, controller: str) -> None:
    rig.gadget.start(gate=Gate.ABSENT)
    boot = rig.host.boot(controller)
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()
    if not rig.gadget.plugged:
        raise NotJudged("the host booted, but the firmware had not plugged its gadget in")
