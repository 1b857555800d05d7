"""Every case of the corpus gets the outcome with which it is labelled.

`ci/test -k corpus -s` runs all of it and prints the table; a run that does not ask for the
corpus by name runs only the cases that say `; sample: yes` (corpus.py), which are quick.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import corpus
import pytest
from cable import fault_at_read
from conftest import CORPUS
from corpus import Case, Row
from states import frozen

from harness.equipment import Equipment, prepare
from harness.firmware import Gate, open_firmware
from harness.observation import (
    BiosLine,
    CableCut,
    CableMuted,
    Frozen,
    HostEvent,
    Observation,
    write_recording,
)
from harness.outcome.kinds import Booted, Hung, Inconclusive, NoBootDevice, ResetLoop, Waiting
from harness.rig import Boot, Fitted, Rig


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All of the corpus when the command line names it, else the sample."""
    if "case" not in metafunc.fixturenames:
        return
    config = metafunc.config
    asked = [config.getoption("keyword"), config.getoption("markexpr")]
    asked += [Path(argument).name for argument in config.args]  # a checkout may be named so, too
    named = any("corpus" in text for text in asked)
    usb = metafunc.function is test_case_on_the_cable
    here = [case for case in corpus.cases() if (case.drive == "usb") == usb]
    chosen = [case for case in here if named or case.sample]
    metafunc.parametrize("case", chosen, ids=lambda case: case.name)


@pytest.fixture(scope="session")
def equipment(tmp_path_factory: pytest.TempPathFactory) -> Equipment:
    """No gadget is plugged in: no snapshot is needed, and no firmware is ever run."""
    firmware = open_firmware("fixed", tmp_path_factory.mktemp("firmware") / "fixed")
    return Equipment(firmware, firmware, {}, "seabios")


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of pytest-xdist share, whose own are in one."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "recordings"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.rig
@pytest.mark.corpus
def test_case(
    case: Case,
    equipment: Equipment,
    recordings: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    case.write(tmp_path / "disk")
    rig = Rig(equipment, tmp_path, evidence)
    try:
        boot = rig.host.boot("ehci", fitted=Fitted(tmp_path / "disk"), seconds=case.budget)
    finally:
        rig.close()
    check(case, boot, recordings, record_property)


@pytest.mark.rig
@pytest.mark.corpus
def test_case_on_the_cable(
    case: Case,
    recordings: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """The disk is in the gadget's drive, and something may befall the cable."""
    scratch, evidence = tmp_path / "scratch", tmp_path / "evidence"
    scratch.mkdir(mode=0o700)
    evidence.mkdir()
    case.write(tmp_path / "disk.img")
    firmware = open_firmware("fixed", tmp_path / "firmware")
    rig = Rig(prepare(firmware, "seabios", tmp_path, print), scratch, evidence)
    try:
        rig.gadget.start(gate=Gate.path("/data/disk.img"), media=[tmp_path / "disk.img"])
        if case.fault is not None:
            fault_at_read(rig, *case.fault)
        boot = rig.host.boot("ehci", must_ask_drive=False, seconds=case.budget)
    finally:
        rig.close()
    befell = [o for o in boot.stream[: boot.judged] if isinstance(o, CableCut | CableMuted)]
    assert len(befell) == (case.fault is not None), (
        "it was decided before anything befell the cable"
    )
    check(case, boot, recordings, record_property)


def check(
    case: Case, boot: Boot, recordings: Path, record_property: Callable[[str, object], None]
) -> None:
    """Keep the recording, note the row of the table, and fail when the outcome is another one."""
    recording = recordings / f"{case.name}.jsonl"
    write_recording(recording, boot.stream)
    got = corpus.label(boot.outcome)
    after = corpus.decided_after(boot.stream)
    row = Row(case.name, case.expected, got, after, str(recording))
    record_property(CORPUS, tuple(row))
    assert got == case.expected, f"{case.about}\n{boot.explain()}"


# --- the corpus itself ------------------------------------------------------------------------


def test_every_file_says_what_to_expect_and_why() -> None:
    found = corpus.cases()
    assert len(found) > 100
    assert len({case.name for case in found}) == len(found)
    for case in found:
        assert case.fault is None or case.drive == "usb", case.name
        assert case.about.endswith("."), f"{case.name}: {case.about}"
        assert case.budget <= 120
    sample = [case for case in found if case.sample]
    assert 10 <= len(sample) <= 25
    kinds = [{case.expected.split(" next")[0] for case in some} for some in (sample, found)]
    assert kinds[0] == {kind for kind in kinds[1] if not kind.startswith("booted ")}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "; expect: hung\n; Why.\n",
        "; expect: hung sleeping\n; Why.\n",
        "; expect: booted\n; Why.\n",
        "; expect: waiting for godot\n; Why.\n",
        "; expect: waiting\n",
        "; expect: waiting\n; drive: floppy\n; Why.\n",
        "; expect: waiting\n; fault: melts at read 1\n; Why.\n",
        "\n; expect: waiting\n; Why.\n",
        "; Why.\n; expect: waiting\n",
    ],
)
def test_a_header_that_says_too_little(tmp_path: Path, text: str) -> None:
    path = tmp_path / "case.asm"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"case\.asm: its header"):
        corpus.case_of(path)


def test_a_header_that_says_it_all(tmp_path: Path) -> None:
    path = tmp_path / "spins.asm"
    path.write_text(
        "; expect: hung spinning\n; budget: 7\n; size: 2\n; sample: yes\n"
        "; It spins. Note: no\n; timer.\n\nself: jmp self\n; not the header\n"
    )
    case = corpus.case_of(path)
    assert dataclasses.replace(case, write=print) == Case(
        "spins", "hung spinning", "It spins. Note: no timer.", print, 7.0, sample=True
    )
    assert case.fault is None
    case.write(tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == b"\xeb\xfe" + bytes(2 * corpus.MIB - 2)


# --- the table --------------------------------------------------------------------------------

LOG = BiosLine(1.0, "Booting from 0000:7c00")
MARK = BiosLine(1.5, "bootgate: booted from next-device")


def stopped(at: float) -> Frozen:
    """A HLT with interrupts off."""
    return frozen("cli\nhlt", at=at, halted=True, EIP=0x7C02)


def test_labels_of_outcomes() -> None:
    outcomes = [
        (Hung("idle"), "hung idle"),
        (Booted("next-device", 3.0), "booted next-device"),
        (Waiting(), "waiting"),
        (NoBootDevice(), "no_boot_device"),
        (ResetLoop(), "reset_loop"),
        (Inconclusive(), "inconclusive"),
    ]
    for outcome, text in outcomes:
        assert corpus.label(outcome) == text
        assert corpus.is_label(text)


def test_the_time_to_a_decision_ends_with_what_proved_it() -> None:
    halted: list[Observation] = [LOG, *(stopped(1.0 + n / 10) for n in range(1, 40))]
    after = corpus.decided_after(halted)
    assert after is not None
    assert 0.0 < after < 3.0, "what was seen later, to find out more, does not count"
    assert corpus.decided_after([*halted, HostEvent(9.0, "RESET", guest=False)]) == after
    assert corpus.decided_after([LOG, MARK]) == 0.0
    assert corpus.decided_after([LOG]) is None
    assert corpus.decided_after([]) is None


def recorded(folder: Path, name: str, stream: list[Observation], got: str) -> Row:
    path = folder / f"{name}.jsonl"
    write_recording(path, stream)
    return Row(name, "booted next-device", got, None, str(path))


def test_recordings_are_judged_again(tmp_path: Path) -> None:
    boots = recorded(tmp_path, "boots", [LOG, MARK], "booted next-device")
    nothing = recorded(tmp_path, "nothing", [LOG], "inconclusive")
    again = corpus.replay([boots, nothing])
    assert (again.count, again.otherwise) == (2, ())
    assert str(again).startswith("ok  2 recordings judged again without QEMU in 0.0")
    wrong = corpus.replay([boots, nothing._replace(got="waiting")])
    assert not wrong.good
    assert str(wrong).startswith("BAD 2 recordings")
    assert str(wrong).endswith("otherwise: nothing (inconclusive)")
    assert str(corpus.Replay(9, 5.5, ())).endswith("5.50 s: 5 s is the limit")


def test_the_table() -> None:
    rows = [
        Row("spins", "hung spinning", "hung spinning", 1.25, ""),
        Row("boots", "booted next-device", "hung spinning", 0.75, ""),
        Row("prints", "inconclusive", "inconclusive", None, ""),
    ]
    assert corpus.table(rows) == [
        "BAD boots   expected booted next-device  got hung spinning       0.75 s",
        "ok  prints  expected inconclusive        got inconclusive",
        "ok  spins   expected hung spinning       got hung spinning       1.25 s",
        "2 of 3 right; seconds are from the last progress to the proof",
        "spinning  decided after min 0.75 s, median 1.00 s, max 1.25 s (2 cases)",
    ]
