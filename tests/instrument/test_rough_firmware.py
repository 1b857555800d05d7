"""Init scripts that misbehave: the case ends as what it is, within its time."""

from __future__ import annotations

import pytest
from conftest import Validate

pytestmark = pytest.mark.rig

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
    run = validate("--firmware", firmware, "-k", CASE)
    (case,) = run.results["cases"]
    assert case["outcome"]["kind"] == kind, run.stdout
    assert words in case["outcome"]["why"]
    assert run.status == (1 if kind == "no_drive" else 0)
    assert all(c["judgement"] == "kept" for c in run.results["controls"])
    log = run.report / "cases" / CASE.replace("/", ".") / "gadget-console.log"
    assert log.stat().st_size < 1 << 20


def test_a_backing_without_a_name_is_no_promise_kept(validate: Validate) -> None:
    run = validate("--firmware", "rough/copies_the_partition", "-k", "SAFE-1/nothing_chosen")
    (case,) = run.results["cases"]
    assert case["judgement"] == "not_judged", run.stdout
    assert "(deleted) -> unknown" in case["reason"]


def test_a_device_that_dies_while_the_host_boots(validate: Validate) -> None:
    # On UHCI SeaBIOS waits for 5 s: that is when it dies.
    run = validate(
        "--firmware", "rough/switches_off_late", "-k", "EMPTY-1/hid_and_storage-exfat-uhci"
    )
    (case,) = run.results["cases"]
    assert case["outcome"]["kind"] == "no_drive", run.stdout
    assert "switched itself off" in case["outcome"]["why"]
    assert run.status == 1
