"""The instrument shows, in every run, that it can see a PC boot and see one hang."""

from __future__ import annotations

from harness.firmware import Gate
from harness.outcome.kinds import NEXT_DEVICE, Booted, Hung
from harness.plugin import control
from harness.rig import Rig


@control("a host with no gadget plugged in boots")
def test_host_boots_alone(rig: Rig, fast_controller: str) -> None:
    boot = rig.host.boot(fast_controller)
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()


@control("the shipped firmware with the defect makes the host hang")
def test_stock_hangs(rig: Rig, fast_controller: str) -> None:
    rig.gadget.start(gate=Gate.EMPTY, firmware=rig.stock)
    boot = rig.host.boot(fast_controller)
    assert boot.outcome == Hung("runaway"), boot.explain()
