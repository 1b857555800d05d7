"""The instrument shows, in every run, that it can see a PC boot and see one hang."""

from __future__ import annotations

from harness.firmware import Gate
from harness.host.pc import DEFAULT_BIOS
from harness.outcome.kinds import NEXT_DEVICE, Booted, Hung
from harness.plugin import control
from harness.rig import Rig


@control("a host with no gadget plugged in boots")
def test_host_boots_alone(rig: Rig, fast_controller: str) -> None:
    boot = rig.host.boot(fast_controller)
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()


@control("the shipped firmware with the defect makes the host hang")
def test_stock_hangs(rig: Rig, fast_controller: str) -> None:
    # On SeaBIOS, whatever the run's BIOS: a hang that is known is what the instrument must see,
    # and a BIOS that does not hang there would be no fault of its own. That the run's BIOS boots
    # on this rig is for the other control to show.
    rig.gadget.start(gate=Gate.EMPTY, firmware=rig.stock)
    # What would bring it back says nothing of the instrument, and takes as long as all of this.
    boot = rig.host.boot(fast_controller, bios=DEFAULT_BIOS, recover=False)
    assert boot.outcome == Hung("runaway"), boot.explain()
