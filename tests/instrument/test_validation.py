"""The run as a whole, with made-up requirement tests and without a rig: seconds each."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import COMMAND, heed_signals

from harness.plugin import SAMPLE

pytestmark = pytest.mark.rig

# The command, with nothing to boot: the equipment is empty, the requirement tests our own.
PROGRAM = """
import sys
from pathlib import Path
from types import SimpleNamespace
from harness import cli, validation
from harness.equipment import Equipment

def prepare(firmware, bios, scratch, note):
    snapshot = SimpleNamespace(image=SimpleNamespace(kernel=SimpleNamespace(version="none")))
    return Equipment(firmware, firmware, {"none": snapshot}, bios)

validation.prepare = prepare
validation.version = lambda: "none"
validation.TESTS = Path(sys.argv.pop(1))
cli.main()
"""

HEAD = """
import os, signal, time
from pathlib import Path
import pytest
from harness.errors import *
from harness.outcome.kinds import *
from harness.plugin import _CASE, control, requirement

@pytest.fixture
def record(request):
    return request.node.stash[_CASE].record

@control("a control")
def test_control():
    pass
"""

KEPT = """
@requirement("EMPTY-1")
def test_kept(record):
    record.outcome = Booted(NEXT_DEVICE)
"""


@dataclass(frozen=True)
class Run:
    """How a run ended. `cases` are by id, of results.json if there is one."""

    status: int
    stdout: str
    stderr: str
    cases: dict[str, dict[str, Any]]
    verdicts: dict[str, str]


Start = Callable[..., "subprocess.Popen[str]"]
Judge = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a run of made-up requirement tests, in an empty folder of its own."""

    def run(
        tests: str,
        *arguments: str | bytes,
        env: dict[str, str] | None = None,
        prefix: str = "",
        here: str = "here",
    ) -> subprocess.Popen[str]:
        (tmp_path / "suite").mkdir()
        (tmp_path / "suite" / "test_made_up.py").write_text(HEAD + tests)
        (tmp_path / "program").mkdir()
        (tmp_path / "program" / "run.py").write_text(PROGRAM)
        (tmp_path / here).mkdir(exist_ok=True)
        command = [sys.executable, str(tmp_path / "program" / "run.py"), str(tmp_path / "suite")]
        report = ["--report", str(tmp_path / "report"), "--workers", "1"]
        return subprocess.Popen(
            [*prefix.split(), *command, "validate", *report, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path / here,
            env={**os.environ, **(env or {})},
            preexec_fn=heed_signals,
        )

    return run


def ended(run: subprocess.Popen[str], report: Path) -> Run:
    stdout, stderr = run.communicate(timeout=60)
    cases, verdicts = {}, {}
    if (report / "results.json").exists():
        results = json.loads((report / "results.json").read_text())
        told = [*results["controls"], *results["cases"], *results["unjudged"]]
        cases = {case["id"]: case for case in told}
        verdicts = {r["id"]: r["verdict"] for r in results["requirements"]}
    return Run(run.returncode, stdout, stderr, cases, verdicts)


@pytest.fixture
def judge(start: Start, tmp_path: Path) -> Judge:
    """Run made-up requirement tests to their end."""

    def run(tests: str, *arguments: str | bytes, **more: Any) -> Run:
        return ended(start(tests, *arguments, **more), tmp_path / "report")

    return run


# --- what the end of a test says --------------------------------------------------------------

JUDGED = """
UNPROVEN = Inconclusive(why="after 45 s nothing was proven")

@requirement("EMPTY-1")
def test_passed_on_a_proven_outcome(record):
    record.outcome = Booted(NEXT_DEVICE)

@requirement("EMPTY-1")
def test_passed_on_nothing_proven(record):
    record.outcome = UNPROVEN

@requirement("EMPTY-1")
def test_not_judged_on_nothing_proven(record):
    record.outcome = UNPROVEN
    raise NotJudged("no LUN to look at")

@requirement("MEDIA-1")
def test_explained(record):
    record.outcome = UNPROVEN
    assert record.outcome == Booted(MEDIUM), "inconclusive with x in the drive: after 45 s"

@requirement("MEDIA-1")
def test_not_explained(record):
    record.outcome = UNPROVEN
    assert record.outcome == Booted(MEDIUM)

@requirement("SAFE-1")
def test_proven_beside_it(record):
    record.outcome = UNPROVEN
    backing = "block:179:3"
    assert not backing.startswith("block:"), "lun.0 is backed by a block device"

@requirement("SAFE-1")
def test_seen_through_the_boot(record):
    record.outcome = UNPROVEN
    assert record.boot_seconds > 5, "the drive never said that it has no medium"

@requirement("SAFE-1")
def test_device_died(record):
    raise FirmwareFault("the device switched itself off")

@requirement("SAFE-1")
def test_device_died_while_nothing_was_proven(record):
    record.outcome = UNPROVEN
    raise FirmwareFault("the device switched itself off")

@requirement("SAFE-1")
def test_device_died_after_the_boot(record):
    record.outcome = Booted(NEXT_DEVICE)
    raise FirmwareFault("the device switched itself off")

@requirement("TOGGLE-3")
def test_rig_failed(record):
    raise RigFault("the cable \\udcff broke")
"""


def test_how_a_test_ended_is_what_it_says_of_the_case(judge: Judge) -> None:
    run = judge(JUDGED)
    got = {
        name.split("/")[1]: (case["judgement"], case["outcome"] and case["outcome"]["kind"])
        for name, case in run.cases.items()
    }
    assert got == {
        "control": ("kept", "rig_fault"),
        "passed_on_a_proven_outcome": ("kept", "booted"),
        "passed_on_nothing_proven": ("rig_fault", "inconclusive"),
        "not_judged_on_nothing_proven": ("rig_fault", "inconclusive"),
        "explained": ("rig_fault", "inconclusive"),
        "not_explained": ("rig_fault", "inconclusive"),
        "proven_beside_it": ("broken", "inconclusive"),
        "seen_through_the_boot": ("rig_fault", "inconclusive"),
        "device_died": ("broken", "no_drive"),
        "device_died_while_nothing_was_proven": ("broken", "no_drive"),
        "device_died_after_the_boot": ("broken", "booted"),
        "rig_failed": ("rig_fault", "rig_fault"),
    }
    assert run.status == 1
    died = run.cases["SAFE-1/device_died"]
    assert died["reason"] == died["outcome"]["why"] == "the device switched itself off"
    assert run.cases["TOGGLE-3/rig_failed"]["reason"] == r"the cable \udcff broke"
    assert "RIG FAULT: inconclusive: after 45 s nothing was proven" in run.stdout
    assert "BROKEN: lun.0 is backed by a block device" in run.stdout
    assert run.verdicts == {
        "EMPTY-1": "not_judged",
        "SAFE-1": "broken",
        "MEDIA-1": "not_judged",
        "TOGGLE-3": "not_judged",
    }


# --- cases that do not come back --------------------------------------------------------------

BROKEN = """
@requirement("MEDIA-1")
def test_broken():
    assert False, "hung (runaway)"
"""

DIES = """
@requirement("SAFE-1")
def test_dies():
    os.kill(os.getpid(), signal.SIGKILL)
"""

IS_LOST = """
@requirement("SAFE-1")
def test_is_lost(request):
    del request.node.stash[_CASE]
"""


@pytest.mark.parametrize(
    ("tests", "lost", "reason"),
    [(DIES, "SAFE-1/dies", "its worker died"), (IS_LOST, "SAFE-1/is_lost", "it was not run")],
    ids=["worker died", "lost"],
)
def test_a_case_that_does_not_come_back_is_a_rig_fault(
    judge: Judge, tmp_path: Path, tests: str, lost: str, reason: str
) -> None:
    run = judge(tests + KEPT + BROKEN)
    assert run.status == 1, run.stderr
    assert (run.cases[lost]["judgement"], run.cases[lost]["reason"]) == ("rig_fault", reason)
    assert run.verdicts == {"EMPTY-1": "kept", "SAFE-1": "not_judged", "MEDIA-1": "broken"}
    assert f"rig fault: {lost}: {reason}" in run.stdout
    assert lost.split("/")[1] in (tmp_path / "report" / "junit.xml").read_text()


def test_nothing_broken_and_a_lost_case_is_no_success(judge: Judge) -> None:
    assert judge(IS_LOST + KEPT).status == 3


def test_a_control_that_does_not_come_back_is_out_of_order(judge: Judge) -> None:
    lost = IS_LOST.replace('requirement("SAFE-1")', 'control("another control")')
    run = judge(lost + KEPT + BROKEN)
    assert run.status == 3
    assert "control another control failed: it was not run" in run.stdout
    assert set(run.verdicts.values()) == {"not_judged"}


# --- signals ----------------------------------------------------------------------------------

SLOW_TO_COLLECT = """
if not Path("collecting").exists():
    Path("collecting").touch()
    time.sleep(1)
"""


def start_collecting(start: Start, tmp_path: Path, prefix: str = "") -> subprocess.Popen[str]:
    run = start(SLOW_TO_COLLECT + KEPT, prefix=prefix)
    end = time.monotonic() + 20
    while not (tmp_path / "here" / "collecting").exists():
        assert time.monotonic() < end
        assert run.poll() is None
        time.sleep(0.02)
    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_collection(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    process = start_collecting(start, tmp_path)
    process.send_signal(number)
    run = ended(process, tmp_path / "report")
    assert (run.status, run.stderr) == (128 + number, "")


WAITS = """
@requirement("SAFE-1")
def test_waits():
    Path(os.environ["WAITING"]).touch()
    time.sleep(60)
"""


def test_a_signal_in_the_midst(start: Start, tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    process = start(BROKEN + WAITS + KEPT, env={"WAITING": str(waiting)})
    end = time.monotonic() + 20
    while not waiting.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    run = ended(process, tmp_path / "report")
    assert run.status == 128 + signal.SIGTERM
    assert run.verdicts == {"EMPTY-1": "not_judged", "SAFE-1": "not_judged", "MEDIA-1": "broken"}
    assert "the run was interrupted before its end" in run.cases["EMPTY-1/kept"]["reason"]


def test_nohup(start: Start, tmp_path: Path) -> None:
    process = start_collecting(start, tmp_path, prefix="nohup")
    process.send_signal(signal.SIGHUP)
    assert ended(process, tmp_path / "report").status == 0


# --- what is the user's own -------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        {"PYTEST_ADDOPTS": "--collect-only"},
        {"PYTEST_PLUGINS": "no_such_plugin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    ],
    ids=["options", "plugins"],
)
def test_the_users_pytest_settings_have_no_effect(judge: Judge, env: dict[str, str]) -> None:
    run = judge(KEPT, env=env)
    assert (run.status, run.verdicts) == (0, {"EMPTY-1": "kept"}), run.stderr


def test_code_in_the_current_folder_is_not_run(judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for module in ("execnet", "xdist", "sitecustomize", "conftest", "json", "harness"):
        (tmp_path / "here" / f"{module}.py").write_text(f"open('{module} was run', 'w')\n")
    assert judge(KEPT).status == 0
    assert not list((tmp_path / "here").glob("* was run"))


def test_no_file_is_left_outside_the_report_folder(judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    uses_image = """
@requirement("MEDIA-1")
def test_image(boot_image):
    image = boot_image("boot disk.img")
    assert image.name == "boot disk.img"
    assert image.stat().st_size
    assert image.parents[1].name.startswith("run-")
"""
    run = judge(uses_image, env={"TMPDIR": str(tmp_path / "tmp")})
    assert run.status == 0, run.stdout
    assert not list((tmp_path / "tmp").iterdir())
    assert not list((tmp_path / "here").iterdir())


def test_a_firmware_whose_path_is_no_utf8(judge: Judge, tmp_path: Path) -> None:
    odd = os.fsdecode(b"kvm\xff")
    (tmp_path / odd / "system" / "init.d").mkdir(parents=True)
    (tmp_path / odd / "system" / "init.d" / "S03usbdev").write_text("#!/bin/sh\n")
    (tmp_path / odd / "bios.bin").write_bytes(bytes(65536))
    run = judge(KEPT, "--firmware", f"../{odd}", "--bios", "bios.bin", here=odd)
    assert run.status == 0, run.stderr
    assert run.cases["EMPTY-1/kept"]["bios"].endswith(r"kvm\udcff/bios.bin")


def test_a_choice_that_is_no_utf8(judge: Judge) -> None:
    run = judge(KEPT, "-k", b"not \xff")
    assert run.status == 2
    assert run.stderr == "bootgate: -k not \\udcff is no UTF-8\n"


@pytest.mark.parametrize("where", ["inner/report", "."])
def test_a_report_in_the_firmware_under_test(judge: Judge, tmp_path: Path, where: str) -> None:
    tree = tmp_path / "kvm"
    (tree / "system" / "init.d").mkdir(parents=True)
    (tree / "system" / "init.d" / "S03usbdev").write_text("#!/bin/sh\n")
    run = judge(KEPT, "--firmware", str(tree), "--report", str(tree / where))
    assert run.status == 2
    (line,) = run.stderr.splitlines()
    assert "lies in the firmware under test" in line
    assert "--report" in line
    assert [path.name for path in tree.iterdir()] == ["system"]


# --- errors of our own ------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["validate", "--list"], ["--help"], ["--version"]])
def test_an_output_that_cannot_be_written(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("bootgate: internal error: OSError: ")
    assert line.endswith(": report this")


def test_a_complaint_that_cannot_be_written() -> None:
    with open("/dev/full", "w") as full:
        for wrong in (["--no-such-option"], ["-k", "nothing_is_called_so"]):
            done = subprocess.run([*COMMAND, "validate", *wrong], stderr=full)
            assert done.returncode == 2


def test_a_reader_that_goes_away() -> None:
    command = shlex.join([*COMMAND, "validate", "--list"])
    script = f"{command} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (str(128 + signal.SIGPIPE), "")


# --- run it again -----------------------------------------------------------------------------


def listed(*arguments: str) -> list[str]:
    """The cases' ids. From a process of its own: other modules of their names may be in this."""
    command = [*COMMAND, "validate", "--list", *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [name for name in said.split() if "/" in name and not name.startswith("control/")]


def test_a_seed_adds_the_same_few_moments_each_time() -> None:
    seeds = ((), ("--seed", "7"), ("--seed", "7"), ("--seed", "8"))
    default, once, again, other = (listed(*seed) for seed in seeds)
    assert once == again
    added = [set(cases) - set(default) for cases in (once, other)]
    assert added[0] != added[1]
    for cases in added:
        counted = Counter(case.split("/")[0] for case in cases)
        assert counted == dict.fromkeys(("LIFE-1", "LIFE-2", "LIFE-3", "LIFE-4"), SAMPLE)
    assert {*default, *once, *other} <= set(listed("--full"))


def test_a_controller_that_is_chosen_gets_what_another_stood_for() -> None:
    default, chosen, full = listed(), listed("--controller", "uhci"), listed("--full")
    for case in ("EMPTY-2/uhci", "MEDIA-3/disk-uhci", "TOGGLE-3/uhci"):
        assert case in full
        assert case in chosen
        assert case not in default
    assert "MEDIA-6/ipxe-disk-uhci" in full
    assert "MEDIA-6/ipxe-disk-uhci" not in chosen, "nor is it run on the controller that stands"
    assert not [case for case in chosen if case.endswith("-ehci")]


def test_no_case_is_selected_by_anothers_id() -> None:
    ids = listed("--full")
    assert ids
    for one in ids:
        assert [name for name in ids if one.casefold() in name.casefold()] == [one]


def test_run_it_again_runs_that_case_alone(judge: Judge) -> None:
    broken = """
from harness.plugin import full

@full
@requirement("EMPTY-1")
def test_on_one_controller(record, fast_controller):
    record.controller = fast_controller
    assert False, f"hung on {fast_controller}"
"""
    run = judge(broken, "--full", "--controller", "xhci", "--controller", "uhci")
    (command,) = re.findall("run it again: ci/validate (.*)", run.stdout)
    expected = "--firmware fixed --controller xhci --full -k EMPTY-1/on_one_controller"
    assert command == expected


def test_run_it_again_runs_what_the_seed_had_chosen(judge: Judge) -> None:
    broken = """
from harness.plugin import swept

@pytest.mark.parametrize("moment", [pytest.param(1, id="moment-1", marks=swept)])
@requirement("EMPTY-1")
def test_at_a_moment(record, moment):
    assert False, "hung"
"""
    run = judge(broken, "--seed", "3")
    (command,) = re.findall("run it again: ci/validate (.*)", run.stdout)
    assert command == "--firmware fixed --seed 3 -k EMPTY-1/moment-1"


# --- which BIOS -------------------------------------------------------------------------------

BIOSES = """
from harness.plugin import full

@requirement("EMPTY-1")
def test_any(record):
    record.outcome = Booted(NEXT_DEVICE)

@requirement("EMPTY-4")
@pytest.mark.parametrize(
    ("bios", "kind"),
    [("blind", "a"), ("strict", "a"), ("strict", "b"), pytest.param("blind", "c", marks=full)],
    indirect=["bios"],
)
def test_others(record, bios, kind):
    record.outcome = Booted(NEXT_DEVICE)
    assert bios is None, f"it is for {bios}"
"""
WITHOUT = {"EMPTY-1/any": "seabios"}
STRICT = {"EMPTY-4/strict-a": "strict", "EMPTY-4/strict-b": "strict"}
BLIND = {"EMPTY-4/blind-a": "blind"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {**WITHOUT, **BLIND, **STRICT}),
        (["--bios", "seabios"], WITHOUT),
        (["--bios", "strict"], {"EMPTY-1/any": "strict", **STRICT}),
        (
            ["--bios", "blind", "--full"],
            {"EMPTY-1/any": "blind", **BLIND, "EMPTY-4/blind-c": "blind"},
        ),
        (["-k", "strict"], STRICT),
    ],
    ids=["none", "seabios", "strict", "blind, full", "by keyword"],
)
def test_cases_and_their_bios(judge: Judge, arguments: list[str], expected: dict[str, str]) -> None:
    run = judge(BIOSES, *arguments)
    seen = {name: case["bios"] for name, case in run.cases.items() if name.count("/control") == 0}
    assert seen == expected
    for name, case in run.cases.items():
        if "EMPTY-4" in name:
            assert case["reason"].startswith(f"it is for {expected[name]}"), case


def test_a_file_takes_the_place_of_every_bios(judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "bios.bin").write_bytes(bytes(65536))
    run = judge(BIOSES, "--bios", "bios.bin")
    assert run.status == 0, run.stdout + run.stderr
    assert {name: case["bios"] for name, case in run.cases.items()} == dict.fromkeys(
        ("control/control", "EMPTY-1/any", "EMPTY-4/file-a", "EMPTY-4/file-b"),
        str(tmp_path / "here" / "bios.bin"),
    )


@pytest.mark.parametrize("bios", [None, "strict", "bios.bin"])
def test_run_it_again_runs_it_with_its_bios(judge: Judge, tmp_path: Path, bios: str | None) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "bios.bin").write_bytes(bytes(65536))
    broken = BIOSES.replace("bios is None", "False")
    chosen = ["--bios", bios] if bios else []
    run = judge(broken, *chosen)
    (command,) = re.findall("run it again: ci/validate (.*)", run.stdout)
    first = {None: "blind", "strict": "strict", "bios.bin": "file"}[bios]
    expected = ["--firmware", "fixed", *chosen, "-k", f"EMPTY-4/{first}-a"]
    assert shlex.split(command) == expected


def test_a_case_that_was_lost_had_its_bios(judge: Judge) -> None:
    lost = """
@requirement("EMPTY-4")
@pytest.mark.parametrize("bios", ["strict"], indirect=True)
def test_is_lost(request, bios):
    del request.node.stash[_CASE]
"""
    run = judge(lost + KEPT)
    assert {case["bios"] for case in run.cases.values()} == {"seabios", "strict"}
