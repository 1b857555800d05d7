"""A broken instrument is noticed: status 3, and the name of the control that failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Finished, Validate

pytestmark = [pytest.mark.rig, pytest.mark.long]

SHORT = """
import harness.rig.gadget, harness.rig.host
harness.rig.host.CASE_SECONDS = 4.0
harness.rig.host.PLUG_SECONDS = harness.rig.gadget.PLUG_SECONDS = 2.0
"""

DROPS_EVERYTHING = """
from harness.cable.relay import Relay
Relay.forward = lambda self, packet, to: None
"""

STANDS_STILL = """
from harness.cable.relay import Relay
from harness.cable.usbredir import BulkPacket, Side
forward = Relay.forward
def stand_still(self, packet, to):
    data = bytes(packet.data) if isinstance(packet, BulkPacket) else b""
    self.still = getattr(self, "still", False) or data[15:16] == bytes([3]) and len(data) == 31
    if not (self.still and to is Side.HOST):
        forward(self, packet, to)
Relay.forward = stand_still
"""

SAYS_NOTHING = """
import harness.rig.host, images.payload
def mute(path, label):
    images.payload.write_boot_disk(path, label)
    with open(path, "r+b") as image:
        image.seek(images.payload.TEXT_OFFSET)
        image.write(bytes(images.payload.TEXT_SIZE))
harness.rig.host.write_boot_disk = mute
"""


def run_with(validate: Validate, folder: Path, plugin: str, *arguments: str) -> Finished:
    """Run with code that breaks the instrument at the start of every process (site)."""
    (folder / "sitecustomize.py").write_text(SHORT + plugin)
    env = {"PYTHONPATH": str(folder)}
    return validate("-k", "EMPTY-1/hid_and_storage-exfat-ehci", *arguments, env=env)


@pytest.mark.parametrize(
    ("plugin", "control"),
    [
        (DROPS_EVERYTHING, "the shipped firmware with the defect makes the host hang"),
        (SAYS_NOTHING, "a host with no gadget plugged in boots"),
    ],
)
def test_broken_instrument(validate: Validate, tmp_path: Path, plugin: str, control: str) -> None:
    run = run_with(validate, tmp_path, plugin)
    assert_out_of_order(run, control)


def test_bios_that_never_starts(validate: Validate, tmp_path: Path) -> None:
    (tmp_path / "dead.bin").write_bytes(bytes(65536))
    run = run_with(validate, tmp_path, "", "--bios", str(tmp_path / "dead.bin"))
    assert_out_of_order(run, "a host with no gadget plugged in boots")


def test_a_gadget_that_stands_still_is_not_the_firmwares_fault(
    validate: Validate, tmp_path: Path
) -> None:
    """Whatever keeps a drive's answers back, if not that this machine is busy, is seen first in
    the control that has to hang: it is not what a firmware under test is blamed for."""
    (tmp_path / "sitecustomize.py").write_text(STANDS_STILL)
    env = {"PYTHONPATH": str(tmp_path)}
    run = validate("-k", "EMPTY-1/hid_and_storage-exfat-ehci", env=env)
    control = "the shipped firmware with the defect makes the host hang"
    assert_out_of_order(run, control)
    (failed,) = (c for c in run.results["controls"] if c["control"] == control)
    assert "the drive never answered REQUEST SENSE" in failed["reason"]


def assert_out_of_order(run: Finished, control: str) -> None:
    assert run.status == 3, run.stdout
    assert f"the instrument is out of order: control {control} failed" in run.stdout
    assert set(run.verdicts.values()) == {"not_judged"}
    failed = [c for c in run.results["controls"] if c["control"] == control]
    assert failed
    assert failed[0]["judgement"] == "rig_fault"
