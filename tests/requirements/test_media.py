"""MEDIA: a chosen medium works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.firmware import Gate
from harness.host.pc import CONTROLLERS
from harness.outcome.kinds import MEDIUM, Booted
from harness.plugin import requirement
from harness.rig import Rig


@requirement("MEDIA-1")
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_the_image_that_the_gate_file_names_boots(
    rig: Rig, boot_image: Callable[[str], Path], controller: str
) -> None:
    rig.gadget.start(gate=Gate.path("/data/boot.img"), media=[boot_image("boot.img")])
    boot = rig.host.boot(controller)
    assert boot.outcome == Booted(MEDIUM), boot.explain()


@requirement("MEDIA-1")
@pytest.mark.parametrize("name", [pytest.param("boot disk.img", id="name_with_a_blank")])
def test_an_image_with_a_blank_in_its_name_boots(
    rig: Rig, boot_image: Callable[[str], Path], name: str, fast_controller: str
) -> None:
    rig.gadget.start(gate=Gate.path(f"/data/{name}"), media=[boot_image(name)])
    boot = rig.host.boot(fast_controller)
    assert boot.outcome == Booted(MEDIUM), boot.explain()
