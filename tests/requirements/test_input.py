"""INPUT: the keyboard beside the storage."""

from __future__ import annotations

import pytest

from harness.firmware import Gate, Shape
from harness.outcome.kinds import NEXT_DEVICE, Booted
from harness.plugin import full, requirement
from harness.rig import Fitted, Rig


@requirement("INPUT-1")
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(Shape.HID_AND_STORAGE, id="hid_and_storage"),
        pytest.param(Shape.FACTORY, id="factory", marks=full),
    ],
)
def test_the_gadgets_keyboard_opens_the_boot_menu(
    rig: Rig, shape: Shape, fast_controller: str
) -> None:
    """Without /boot/BIOS SeaBIOS never drives it: that would be the host's doing."""
    rig.gadget.start(gate=Gate.EMPTY, shape=shape, extra={"BIOS": b""})
    boot = rig.host.boot(fast_controller, fitted=Fitted(menu=True), must_ask_drive=False)
    assert boot.menu_opened, f"{boot.outcome}, and the boot menu was never opened"
    assert boot.outcome == Booted(NEXT_DEVICE), boot.explain()
