"""SAFE: the device keeps what is its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.errors import NotJudged
from harness.firmware import Gate, Shape
from harness.gadget.vm import Lun
from harness.plugin import requirement
from harness.rig import Rig

# The factory shape's virtual USB controller has room for any number of LUNs.
GATES = [
    pytest.param(Gate.EMPTY, Shape.FACTORY, id="nothing_chosen"),
    pytest.param(Gate.LINE_FEED, Shape.HID_AND_STORAGE, id="gate_of_one_line_feed"),
    pytest.param(Gate.ABSENT, Shape.HID_AND_STORAGE, id="no_gate_file"),
    pytest.param(Gate.path("/data/boot.img"), Shape.FACTORY, id="image_chosen"),
    pytest.param(Gate.path("/data/gone.img"), Shape.HID_AND_STORAGE, id="chosen_image_missing"),
]


@requirement("SAFE-1")
@pytest.mark.parametrize(("gate", "shape"), GATES)
def test_no_lun_is_backed_by_a_block_device(
    rig: Rig, boot_image: Callable[[str], Path], gate: Gate, shape: Shape, fast_controller: str
) -> None:
    rig.gadget.start(gate=gate, shape=shape, media=[boot_image("boot.img")])
    before = rig.gadget.luns
    rig.host.boot(fast_controller, must_ask_drive=False)
    after = rig.gadget.luns
    assert_no_block_device(before)
    assert_no_block_device(after)
    for lun in (*before, *after):
        if lun.backing and lun.backing[-1] != "file":
            raise NotJudged(f"what backs {lun.name} cannot be found: {' -> '.join(lun.backing)}")
    if not before and gate.promises_drive:
        raise NotJudged("the firmware made no LUN to look at")


def assert_no_block_device(luns: Sequence[Lun]) -> None:
    for lun in luns:
        steps = " -> ".join(lun.backing)
        assert not any(s.startswith("block:") for s in lun.backing), (
            f"{lun.name} is backed by a block device of the device: {steps}"
        )
