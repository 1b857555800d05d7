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
