"""Init scripts that misbehave: the case ends as what it is, within its time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from conftest import Validate

from harness.equipment import prepare
from harness.firmware import Gate, open_firmware
from harness.outcome.kinds import NoDrive
from harness.rig import Rig

pytestmark = [pytest.mark.rig, pytest.mark.long]

CASE = "EMPTY-1/hid_and_storage-exfat-ehci"


@pytest.mark.parametrize(
    ("firmware", "kind", "words"),
    [
        ("rough/loops_for_ever", "no_drive", "no mass storage function"),
        ("rough/prints_megabytes", "booted", "boot sector said so"),
        ("rough/kills_the_vm", "no_drive", "the device switched itself off"),
        ("rough/panics", "no_drive", "the device restarted"),
        ("rough/binds_then_loops", "booted", "boot sector said so"),
        ("rough/binds_twice", "booted", "boot sector said so"),
        ("rough/binds_again", "booted", "boot sector said so"),
        ("rough/builds_late", "booted", "boot sector said so"),
        ("rough/odd_but_right", "booted", "boot sector said so"),
        ("rough/halts", "no_drive", "the device halted"),
        ("rough/kills_everything", "no_drive", "the firmware killed what ran on the device"),
    ],
)
def test_rough_firmware(validate: Validate, firmware: str, kind: str, words: str) -> None:
    run = validate("--firmware", firmware, "-k", CASE, controlled=False)
    (case,) = run.results["cases"]
    assert case["outcome"]["kind"] == kind, run.stdout
    assert words in case["outcome"]["why"]
    assert run.status == (1 if kind == "no_drive" else 0)
    log = run.report / "cases" / CASE.replace("/", ".") / "gadget-console.log"
    assert log.stat().st_size < 1 << 20


def test_a_backing_without_a_name_is_no_promise_kept(validate: Validate) -> None:
    chosen = ["--firmware", "rough/copies_the_partition", "-k", "SAFE-1/nothing_chosen"]
    run = validate(*chosen, controlled=False)
    (case,) = run.results["cases"]
    assert case["judgement"] == "not_judged", run.stdout
    assert "(deleted) -> unknown" in case["reason"]


def test_a_device_that_dies_while_the_host_boots(validate: Validate) -> None:
    # On UHCI SeaBIOS waits for 5 s: that is when it dies.
    case = "EMPTY-1/hid_and_storage-exfat-uhci"
    run = validate("--firmware", "rough/switches_off_late", "-k", case, controlled=False)
    (case,) = run.results["cases"]
    assert case["outcome"]["kind"] == "no_drive", run.stdout
    assert "switched itself off" in case["outcome"]["why"]
    assert run.status == 1


def test_a_device_that_dies_before_the_host_is_on(tmp_path: Path) -> None:
    firmware = open_firmware("rough/switches_off_late", tmp_path / "firmware")
    equipment = prepare(firmware, "seabios", tmp_path, print)
    scratch, evidence = tmp_path / "scratch", tmp_path / "evidence"
    scratch.mkdir(mode=0o700)
    evidence.mkdir()
    rig = Rig(equipment, scratch, evidence)
    try:
        rig.gadget.start(gate=Gate.EMPTY)
        late = time.monotonic() + 60
        while rig.gadget.relay is None or rig.gadget.relay.problem is None:
            assert time.monotonic() < late, "the device did not switch itself off"
            time.sleep(0.05)
        outcome = rig.host.boot("ehci").outcome
    finally:
        rig.close()
    assert isinstance(outcome, NoDrive)
    assert "switched itself off" in outcome.why
