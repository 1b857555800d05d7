"""A host that hangs when it is disturbed: whose doing that is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cable import fixed_rig
from corpus import SOURCES, case_of

from harness.cable.relay import Relay
from harness.errors import NotJudged
from harness.firmware import Gate
from harness.host.pc import Pc
from harness.host.stick import Stick
from harness.observation import (
    BiosLine,
    BusReset,
    ControlRequest,
    CpuSample,
    Disturbed,
    HostEvent,
    Observation,
    Plugged,
    Unplugged,
)
from harness.outcome.kinds import MEDIUM, NEXT_DEVICE, Booted, Hung, Outcome
from harness.outcome.moments import Deed, Disturbance, Mark
from harness.rig import Rig, deeds, host
from harness.rig.comparison import FOLDER, away, marks_nearby, same_with_stick, silent_since
from harness.rig.gadget import Gadget
from harness.rig.host import Host, Rehearsal
from images.payload import write_boot_disk

LINES = [Mark("line", name, 1) for name in "abc"]
ASKED = Mark("command", "INQUIRY", 1)
ON_THE_WAY = Mark("line", "Scan for option roms", 1)
STARTED = Mark("line", "Booting from 0000:7c00", 1)


def test_the_lines_around_a_mark_are_those_that_both_boots_have() -> None:
    a, b, c = LINES
    marks = [a, b, ASKED, c]
    assert marks_nearby(ASKED, marks, LINES) == [b, c]
    assert marks_nearby(ASKED, marks, [a, c]) == [a, c]
    assert marks_nearby(b, marks, LINES) == [b, c], "a line of both stands for itself"
    assert marks_nearby(ASKED, marks, [a]) == [a]
    assert marks_nearby(ASKED, marks, [Mark("line", "a", 2)]) == []


def test_how_long_the_gadget_was_away() -> None:
    there: list[Observation] = [Plugged(-0.1, "high", 1, 2), Disturbed(1.0, "", "")]
    gone = [*there, Unplugged(1.5)]
    assert away(there) == 0.0
    assert away(gone) is None
    assert away([*gone, Plugged(3.5, "high", 1, 2)]) == 2.0
    assert away([Unplugged(0.1), Plugged(0.9, "high", 1, 2), *there]) == 0.0, "before that"


def test_a_host_that_never_came_to_its_bios_again() -> None:
    line = BiosLine(0.5, "SeaBIOS (version 1.16.2)")
    reset: list[Observation] = [line, Disturbed(1.0, "", ""), HostEvent(1.1, "RESET", False)]
    stands = [*reset, BusReset(1.1), CpuSample(1.2, 0, 0, 0, 0, False, True, b"", b"", 0)]
    assert silent_since(stands), "its controller, reset with it, resets the gadget"
    asks = ControlRequest(1.3, 1, 0x80, 6, 0x100, 0, 8, "GET_DESCRIPTOR(DEVICE)")
    assert not silent_since([*stands, line])
    assert not silent_since([*stands, asks])


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with fixed_rig(tmp_path) as made:
        yield made


def with_stick(rig: Rig, stick: Stick, disturbance: Disturbance | None = None) -> Outcome:
    with closing(Host(rig.case, Gadget(rig.case), stick)) as host:
        return host.boot("ehci", must_ask_drive=False, disturb=disturbance).outcome


@pytest.mark.rig
@pytest.mark.parametrize("deed", [None, Deed.QUICK_REBIND], ids=str)
def test_qemus_own_drive_boots_what_is_in_it(rig: Rig, tmp_path: Path, deed: Deed | None) -> None:
    image = tmp_path / 'a, "b" \\.img'
    write_boot_disk(image, MEDIUM)
    early = Disturbance(Mark("line", "Found QEMU fw_cfg", 1), deed) if deed else None
    assert with_stick(rig, Stick(image), early) == Booted(MEDIUM)


@pytest.mark.rig
@pytest.mark.parametrize(
    "deed", [None, *(d for d in Deed if d not in (Deed.SILENCE, Deed.MUTE))], ids=str
)
def test_what_is_done_to_the_gadget_is_done_to_it(rig: Rig, deed: Deed | None) -> None:
    disturbance = Disturbance(ON_THE_WAY, deed) if deed else None
    assert with_stick(rig, Stick(), disturbance) == Booted(NEXT_DEVICE)
    done = [seen.what for seen in rig.recorder.seen() if isinstance(seen, Disturbed)]
    assert done == ([deed.value] if deed else [])


@pytest.mark.rig
def test_it_never_falls_silent(rig: Rig) -> None:
    with pytest.raises(NotJudged, match="never falls silent"):
        with_stick(rig, Stick(), Disturbance(ON_THE_WAY, Deed.MUTE))


@pytest.mark.rig
def test_a_boot_loader_that_stops_without_its_drive_does_so_with_any(
    rig: Rig, tmp_path: Path
) -> None:
    image = tmp_path / "loader.img"
    case_of(SOURCES / "usb_reads_boots.asm").write(image)
    rig.gadget.start(gate=Gate.path("/data/loader.img"), media=[image])
    disturbance = Disturbance(STARTED, Deed.REPLUG)
    boot = rig.host.boot("ehci", disturb=disturbance)
    assert boot.outcome == Hung("halted"), boot.explain()
    whole = boot.stream[: next(i for i, s in enumerate(boot.stream) if isinstance(s, Disturbed))]
    held = Stick(image, away(boot.stream))
    args = (rig.case, "ehci", disturbance, whole)
    assert same_with_stick(*args, held, boot.outcome) == STARTED
    assert f"{FOLDER}/1/explain.txt" in rig.record.evidence
    assert (rig.case.evidence / FOLDER / "1" / "bios.log").stat().st_size


@pytest.mark.rig
def test_a_reset_while_the_bios_moves_into_memory_is_no_matter_of_the_gadget(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment is too short to be met at will: what it leaves behind is put there."""

    def do(deed: Deed, pc: Pc, gadget: Gadget, wait_plugged: Callable[[Relay], None]) -> None:
        os.pwrite(pc._memory.fd, bytes(0x10000), 0xF0000)
        deeds.do(deed, pc, gadget, wait_plugged)

    monkeypatch.setattr(host, "do", do)
    rig.gadget.start(gate=Gate.EMPTY)
    disturbance = Disturbance(ON_THE_WAY, Deed.RESET)
    boot = rig.host.boot("ehci", must_ask_drive=False, disturb=disturbance, recover=False)
    assert isinstance(boot.outcome, Hung), boot.explain()
    with pytest.raises(NotJudged, match="since the reset its BIOS has said nothing"):
        rig.check_host("ehci", disturbance, Rehearsal(boot.outcome, (), 0.0), boot, None)
