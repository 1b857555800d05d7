"""What the probes make of a drive that misbehaves, refuses, falls silent or leaves."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import usb.core
from cable import fixed_rig

from harness.cable.relay import Relay
from harness.deadline import Deadline
from harness.errors import (
    CableError,
    DeadlineExpired,
    DiskFull,
    FirmwareFault,
    Misbehaved,
    RigFault,
)
from harness.firmware import Gate
from harness.host.pc import Pc
from harness.probe.bulk_only import PASSED, Drive
from harness.probe.checks import INQUIRY, Check, Held, absent_lun
from harness.probe.run import asked_in, findings
from harness.rig import Rig


class Fake:
    """A drive that answers as it is told to."""

    def __init__(self, max_lun: bytes = b"\0", *, answers: bool = True) -> None:
        self.device = self
        self._max_lun = max_lun
        self._answers = answers

    def max_lun(self) -> bytes:
        return self._max_lun

    def settle(self) -> None:
        if not self._answers and self.asked:
            raise usb.core.USBTimeoutError("no answer", errno=errno.ETIMEDOUT)

    asked = False

    def recover(self) -> None:
        pass

    reset = recover


def found(error: Exception | None, kernel: str = "", *, answers: bool = True) -> tuple[str, str]:
    """What comes of a check that ends so: the result, and why."""
    drive = Fake(answers=answers)

    def ask(_: Any) -> None:
        drive.asked = True
        if error is not None:
            raise error

    check = Check("a_check", "it must", "BOT 1", (Held.MEDIUM,), ask, kernel)
    (finding,) = findings(cast(Drive, drive), Held.MEDIUM, [check])
    return finding.result, finding.why


LEFT = usb.core.USBError("gone", errno=errno.ENODEV)
SILENT = usb.core.USBTimeoutError("waited 5 s", errno=errno.ETIMEDOUT)
REFUSED = usb.core.USBError("stall", errno=errno.EPIPE)


def test_only_what_the_kernel_is_known_to_do_is_the_kernels() -> None:
    assert found(Misbehaved("gave 512 bytes"), "known") == ("kernel", "gave 512 bytes")
    assert found(Misbehaved("gave 512 bytes")) == ("broken", "gave 512 bytes")
    for error in (LEFT, SILENT, REFUSED):
        assert found(error, "known")[0] == "broken"
    assert found(Misbehaved("gave 512 bytes"), "known", answers=False)[0] == "broken"
    assert found(None, "known") == ("kept", "")


def test_an_answer_that_cannot_be_read_is_the_drives() -> None:
    assert found(ValueError("no langid")) == ("broken", "its answer cannot be read: no langid")


def test_a_cable_that_breaks_is_the_rigs() -> None:
    with pytest.raises(CableError, match="was closed"):
        found(CableError("the cable was closed"))


@pytest.mark.parametrize("answer", [b"", b"\0\0"])
def test_a_count_of_luns_that_is_none(answer: bytes) -> None:
    with pytest.raises(Misbehaved, match="GET_MAX_LUN answers"):
        absent_lun(cast(Drive, Fake(answer)))


def test_a_drive_that_has_every_lun_lacks_none() -> None:
    absent_lun(cast(Drive, Fake(b"\x0f")))


# --- on the rig -----------------------------------------------------------------------------


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with fixed_rig(tmp_path) as made:
        made.gadget.start(gate=Gate.EMPTY)
        yield made


def asked_until(rig: Rig, command: str) -> None:
    """Ask the drive what fits its state, while that happens to its device."""
    vm = rig.gadget._vm
    assert vm is not None
    with rig.gadget.drive() as drive:
        assert drive.ask(INQUIRY, 36).status == PASSED
        if command:
            vm._run(command, Deadline.after(10, "its shell"))
        else:
            vm._qemu.process.kill()
        for _ in range(20):
            list(findings(drive, Held.NOTHING, asked_in(Held.NOTHING)))


@pytest.mark.rig
def test_a_gadget_vm_that_is_killed_is_the_rigs(rig: Rig) -> None:
    with pytest.raises(RigFault):
        asked_until(rig, "")


@pytest.mark.rig
def test_a_device_that_switches_itself_off_is_the_firmwares(rig: Rig) -> None:
    with pytest.raises(FirmwareFault, match="switched itself off"):
        asked_until(rig, "(sleep 0.3; poweroff -f) >/dev/null 2>&1 &")


@pytest.mark.rig
def test_a_host_that_cannot_be_plugged_in_goes_away_and_leaves_its_evidence(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts: list[Pc] = []
    made = Pc.__init__

    def noted(pc: Pc, *args: Any, **more: Any) -> None:
        hosts.append(pc)
        made(pc, *args, **more)

    def full(*_: object) -> None:
        raise DiskFull("no room for the capture")

    monkeypatch.setattr(Pc, "__init__", noted)
    monkeypatch.setattr(Relay, "attach", full)
    for boot in (rig.host.boot, rig.host.rehearse):
        with pytest.raises(DiskFull):
            boot("ehci")
    assert [pc._qemu.running for pc in hosts] == [False, False]
    for folder in ("", "rehearsal-1"):
        assert (rig.case.evidence / folder / "observations.jsonl").stat().st_size


@pytest.mark.rig
def test_a_slow_shell_is_not_the_firmwares(rig: Rig) -> None:
    vm = rig.gadget._vm
    assert vm is not None
    with pytest.raises(DeadlineExpired, match="its shell"):
        vm._run("sleep 3", Deadline.after(1, "its shell"))
