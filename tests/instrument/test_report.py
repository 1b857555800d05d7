"""The report: the folder, results.json, JUnit, the summary and the live lines."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from junitparser import JUnitXml
from rich.console import Console

from harness.errors import BootgateError, ReportFolderError
from harness.outcome import kinds
from harness.outcome.kinds import (
    NEXT_DEVICE,
    Booted,
    Hung,
    Inconclusive,
    NoBootDevice,
    NoDrive,
    Outcome,
    ResetLoop,
    RigFailed,
    Waiting,
)
from harness.outcome.verdict import CaseResult, Judgement, Verdict, exit_status, verdict
from harness.report.folder import ReportFolder
from harness.report.junit import write_junit
from harness.report.live import Live
from harness.report.results import write_results
from harness.report.summary import Run, print_summary
from harness.report.terminal import ReportConsole
from harness.report.words import in_order, outcome_from_json, outcome_words

HOSTILE = "\x1b[31m\x00\x9b2J[bold]red[/bold] [/] \udc80\uffff\u202e & <b> ]]> :skull:"
"""What firmware could say: terminal escapes, NUL, rich markup, a lone surrogate, XML."""

EXAMPLES: tuple[Outcome, ...] = (
    Booted(NEXT_DEVICE, 1.25, why="said so"),
    NoBootDevice(why="gave up"),
    NoDrive(why="no LUN"),
    Waiting(why="asks for a key"),
    Hung("runaway", why="never code"),
    ResetLoop(why="three resets"),
    Inconclusive(why="45 s"),
    RigFailed(why="cable"),
)


def case(
    case_id: str,
    outcome: Outcome | None,
    judgement: Judgement = "kept",
    reason: str = "",
    **more: Any,
) -> CaseResult:
    """A case whose requirement and controller are what its id says."""
    requirement, _, rest = case_id.partition("/")
    result = CaseResult(
        id=case_id,
        requirement=requirement,
        controller=rest.split("-")[0] or None,
        bios="seabios",
        data_partition="exfat",
        outcome=None if outcome is None else outcome.to_json(),
        judgement=judgement,
        reason=reason,
        boot_seconds=0.5,
        total_seconds=1.25,
        evidence=(f"cases/{case_id.replace('/', '.')}/bios.log",),
    )
    return dataclasses.replace(result, **more)


def control(name: str, outcome: Outcome | None, judgement: Judgement, reason: str) -> CaseResult:
    return case(
        f"control/{name}", outcome, judgement, reason, requirement="", control=name, controller=None
    )


def verdicts_of(cases: Sequence[CaseResult]) -> list[Verdict]:
    cases = in_order(cases)
    requirements = {c.requirement for c in cases if not c.control}
    return [verdict(r, [c for c in cases if c.requirement == r]) for r in requirements]


BOOTED = Booted(NEXT_DEVICE, 0.4)
RUN = [
    case("MEDIA-1/uhci-disk", RigFailed(), "rig_fault", "waited 10 s in vain for the shell"),
    case("EMPTY-1/uhci-exfat", Hung("runaway"), "broken", "hung (runaway): the CPU ran wild"),
    case("EMPTY-1/ehci-exfat", Hung("runaway"), "broken", "hung (runaway): the CPU ran wild"),
    case("EMPTY-1/ehci-ext4", NoBootDevice(), "broken", "no boot device: the BIOS gave up"),
    case("TOGGLE-3/uhci-exfat", BOOTED),
    case("TOGGLE-3/uhci-ext4", BOOTED),
    case("TOGGLE-3/ehci-exfat", BOOTED),
    case("SAFE-1/ehci-exfat", None, "not_judged", "one endpoint address twice", evidence=()),
    control("no-gadget", BOOTED, "kept", ""),
]
"""A made-up run, in the order in which parallel workers could have ended."""


def write_all(folder: ReportFolder, cases: Sequence[CaseResult], **more: Any) -> dict[str, Any]:
    verdicts = verdicts_of(cases)
    write_junit(folder, verdicts=verdicts, cases=cases)
    arguments: dict[str, Any] = {
        "firmware": {"path": Path("/fw")},
        "rig": {"qemu": "7.2"},
        "verdicts": verdicts,
        "cases": cases,
        "status": exit_status(verdicts, cases, require_all=False),
    }
    path = write_results(folder, **(arguments | more))
    results = json.loads(path.read_bytes())
    assert isinstance(results, dict)
    return results


def prepared(path: Path) -> ReportFolder:
    folder = ReportFolder(path)
    folder.prepare()
    return folder


# --- the folder -----------------------------------------------------------------------------


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    prepared(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_an_earlier_report_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    (folder.case_folder("EMPTY-1/ehci") / "bios.log").write_text("old")
    write_all(folder, RUN)
    (tmp_path / "notes.txt").write_text("mine")
    prepared(tmp_path)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"notes.txt", ".bootgate-unfinished"}
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_links_are_removed_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    report = tmp_path / "report"
    report.mkdir()
    (report / "results.json").write_text('{"schema": 1}')
    (report / "cases").symlink_to(elsewhere)
    prepared(report)
    assert (elsewhere / "mine").read_text() == "mine"
    assert not (report / "cases").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("thesis.txt", "mine"),
        ("results.json", "[1, 2]"),
        ("results.json", '{"results": []}'),
        ("results.json", "not JSON"),
        ("results.json", '{"schema": "http://json-schema.org"}'),
        ("cases", None),
    ],
)
def test_what_is_not_a_report_is_left_alone(tmp_path: Path, name: str, content: str | None) -> None:
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(ReportFolderError, match="not an earlier report") as caught:
        prepared(tmp_path)
    assert "--report" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert content is None or (tmp_path / name).read_text() == content


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for path, said in ((file, "is a file"), (file / "below", "Not a directory")):
        with pytest.raises(ReportFolderError, match=said) as caught:
            prepared(path)
        assert "\n" not in str(caught.value)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("path", ["/proc/bootgate", "/proc/tty/ldisc", "/proc/bootgate\n\x1b[2J"])
def test_a_folder_that_cannot_be_written_is_noticed(path: str) -> None:
    # /proc/tty/ldisc is there and empty; not even root may write to it.
    with pytest.raises(ReportFolderError, match="cannot write the report folder") as caught:
        prepared(Path(path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("mount", "expected"),
    [("size=4k", "DiskFull"), ("size=64k,ro", "ReportFolderError")],
)
def test_a_full_and_a_read_only_disk(tmp_path: Path, mount: str, expected: str) -> None:
    # In a mount namespace of its own, so nothing of this has to be undone.
    layout = f"echo '{{\"schema\": 1}}' > {tmp_path}/results.json; mkdir {tmp_path}/cases;"
    program = (
        "import sys\n"
        "from harness.report.folder import ReportFolder\n"
        "try: ReportFolder(sys.argv[1]).prepare()\n"
        "except Exception as e: print(type(e).__name__)\n"
    )
    options = mount.removesuffix(",ro")
    remount = f"mount -o remount,ro {tmp_path};" if "ro" in mount else ""
    # The one page is results.json's already: the marker's is one too many.
    script = (
        f"mount -t tmpfs -o {options} none {tmp_path} || exit 77; {layout} {remount} "
        f"{sys.executable} -c '{program}' {tmp_path}; test -e {tmp_path}/results.json"
    )
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no mount namespaces here: {done.stderr.strip()}")
    assert done.stdout.strip() == expected, done.stderr
    assert done.returncode == 0, "the earlier report was lost"


def test_a_killed_run_leaves_no_results_and_does_not_bar_the_next(tmp_path: Path) -> None:
    write_all(prepared(tmp_path), RUN)
    program = (
        "import os, sys\n"
        "from harness.report.folder import ReportFolder\n"
        "f = ReportFolder(sys.argv[1]); f.prepare(); f.case_folder('EMPTY-1/x')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert {p.name for p in tmp_path.iterdir()} == {"cases", ".bootgate-unfinished"}
    write_all(prepared(tmp_path), RUN)
    assert {p.name for p in tmp_path.iterdir()} == {"junit.xml", "results.json"}


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    def opened() -> list[str]:
        links = (Path(link) for link in Path("/proc/self/fd").iterdir())
        names = [os.readlink(link) for link in links if link.is_symlink()]
        return [name for name in names if name.startswith(str(tmp_path))]

    first = prepared(tmp_path)
    with pytest.raises(ReportFolderError, match="another run"):
        prepared(tmp_path)
    assert opened(), "its lock"
    write_all(first, RUN)
    assert not opened()
    prepared(tmp_path)


def test_the_name_of_a_case_folder_is_readable(tmp_path: Path) -> None:
    folder = ReportFolder(tmp_path)
    path = folder.case_folder("EMPTY-1/ehci-exfat-hid_and_storage")
    assert path.is_dir()
    assert folder.relative(path / "a") == "cases/EMPTY-1.ehci-exfat-hid_and_storage/a"
    with pytest.raises(ValueError, match="subpath"):
        folder.relative(tmp_path / ".." / "a")


IDS = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="aA1-_/.\\ :", max_size=6),
    st.from_regex(r"(EMPTY-[12]|con|nul)(/[a-z_-]{1,2}){0,2}", fullmatch=True),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(IDS, min_size=2, max_size=6, unique=True))
@example(["EMPTY-1/a", "EMPTY-1/A", "empty-1/a", "EMPTY-1.a", "EMPTY-1/" + "x" * 300, "x" * 300])
@example(["con/a", "nul/a", "../a", "/a", ".", "", "a/../../a", "control/a"])
def test_case_folders_are_safe_and_distinct(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    root = tmp_path_factory.getbasetemp() / "ids"
    names = []
    for case_id in ids:
        path = ReportFolder(root).case_folder(case_id)
        assert path.is_dir()
        assert path.parent == root / "cases"
        assert path.resolve().parent == (root / "cases").resolve()
        names.append(path.name)
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}", name) for name in names)
    assert not any(re.match(r"(?i)(con|nul|aux|prn|com\d|lpt\d)(\.|$)", name) for name in names)
    # FAT, NTFS and APFS take A for a.
    assert len({name.casefold() for name in names}) == len(ids)


# --- results.json ---------------------------------------------------------------------------


def check_shape(results: dict[str, Any]) -> None:
    """The contract that other tools depend on."""
    assert results["schema"] == 1
    assert isinstance(results["firmware"], dict)
    assert isinstance(results["rig"], dict)
    assert results["status"] in (0, 1, 2, 3)
    assert isinstance(results["interrupted"], bool)
    for requirement in results["requirements"]:
        assert set(requirement) == {"id", "verdict", "reason"}
        assert requirement["verdict"] in ("kept", "broken", "not_judged")
        assert requirement["verdict"] == "kept" or requirement["reason"]
    for one in results["cases"] + results["controls"]:
        assert {
            "id",
            "requirement",
            "controller",
            "bios",
            "data_partition",
            "outcome",
            "seconds",
            "evidence",
        } <= set(one)
        assert one["outcome"]["kind"] in kinds.KINDS
        assert set(one["seconds"]) == {"boot", "total"}
        assert all(isinstance(s, float) for s in one["seconds"].values())
        assert all(isinstance(e, str) and not e.startswith("/") for e in one["evidence"])
    for one in results["unjudged"]:
        assert {"id", "requirement", "reason"} <= set(one)


def test_results_have_the_promised_shape(tmp_path: Path) -> None:
    results = write_all(prepared(tmp_path), RUN)
    check_shape(results)
    assert results["status"] == 1
    assert {r["id"]: r["verdict"] for r in results["requirements"]} == {
        "EMPTY-1": "broken",
        "SAFE-1": "not_judged",
        "MEDIA-1": "not_judged",
        "TOGGLE-3": "kept",
    }
    assert len(results["cases"]) == 7
    assert [c["id"] for c in results["unjudged"]] == ["SAFE-1/ehci-exfat"]
    assert [c["control"] for c in results["controls"]] == ["no-gadget"]
    first = results["cases"][0]
    untold = dict.fromkeys(("recovery", "where", "last"))
    assert first["outcome"] == {"kind": "hung", "why": "", "how": "runaway", **untold}
    assert first["evidence"] == ["cases/EMPTY-1.ehci-exfat/bios.log"]
    assert (first["judgement"], first["seconds"]) == ("broken", {"boot": 0.5, "total": 1.25})


@pytest.mark.parametrize("outcome", EXAMPLES, ids=lambda o: str(o.kind))
def test_every_kind_of_outcome_is_written(tmp_path: Path, outcome: Outcome) -> None:
    results = write_all(prepared(tmp_path), [case("EMPTY-1/uhci", outcome)])
    check_shape(results)
    assert outcome_from_json(results["cases"][0]["outcome"]) == outcome
    assert outcome_words(results["cases"][0]["outcome"]) == str(outcome)


def test_the_examples_are_all_kinds() -> None:
    assert {o.kind for o in EXAMPLES} == set(kinds.KINDS)
    for wrong in ({}, {"kind": "exploded"}, {"kind": "hung"}):
        with pytest.raises(ValueError, match="not an outcome"):
            outcome_from_json(wrong)


def test_results_do_not_depend_on_the_order_of_the_workers(tmp_path: Path) -> None:
    write_all(prepared(tmp_path / "a"), RUN)
    write_all(prepared(tmp_path / "b"), RUN[::-1])
    for name in ("results.json", "junit.xml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert [c.id for c in in_order([case("LIFE-1/at10", None), case("LIFE-1/at9", None)])] == [
        "LIFE-1/at9",
        "LIFE-1/at10",
    ]


def test_results_survive_hostile_words(tmp_path: Path) -> None:
    hung = Hung("runaway", why=HOSTILE)
    results = write_all(
        prepared(tmp_path),
        [case("EMPTY-1/uhci", hung, "broken", HOSTILE)],
        firmware={"path": Path(os.fsdecode(b"/fw/\xff"))},
    )
    content = (tmp_path / "results.json").read_bytes()
    assert content.endswith(b"}\n")
    assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in content)
    assert not re.search(rb"\\ud[89a-f]", content.replace(rb"\\", b"")), "a lone surrogate"
    assert results["cases"][0]["reason"] == HOSTILE.replace("\udc80", "\\udc80")
    assert results["firmware"]["path"] == "/fw/\\udcff"


def test_a_rig_that_failed_before_the_host_started_is_a_rig_fault(tmp_path: Path) -> None:
    results = write_all(
        prepared(tmp_path),
        [
            case("EMPTY-1/uhci", None, "rig_fault", "the shell does not answer"),
            control("stock-hangs", None, "not_judged", "could not be run"),
        ],
    )
    check_shape(results)
    assert results["cases"][0]["outcome"] == {
        "kind": "rig_fault",
        "why": "the shell does not answer",
    }
    assert results["controls"][0]["outcome"]["kind"] == "rig_fault"
    assert results["unjudged"] == []


def test_a_failed_control_leaves_nothing_judged(tmp_path: Path) -> None:
    failed = control("no-gadget", Hung("halted"), "broken", "the host hung alone")
    results = write_all(prepared(tmp_path), [*RUN, failed])
    assert results["status"] == 3
    assert {r["verdict"] for r in results["requirements"]} == {"not_judged"}
    assert {c["judgement"] for c in results["cases"]} == {"not_judged", "rig_fault"}
    assert "control no-gadget failed" in results["requirements"][0]["reason"]
    suite = ElementTree.parse(tmp_path / "junit.xml")
    assert not suite.findall(".//failure")
    assert summary([*RUN, failed], status=3).startswith(
        "the instrument is out of order: control no-gadget failed: the host hung alone\n"
    )
    assert "BROKEN" not in summary([*RUN, failed], status=3)


def test_results_come_last_and_whole(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        write_all(folder, [case("EMPTY-1/uhci", BOOTED, boot_seconds=float("nan"))])
    assert not (tmp_path / "results.json").exists()
    assert (tmp_path / ".bootgate-unfinished").exists()
    (tmp_path / "results.json").mkdir()
    with pytest.raises(BootgateError, match=r"results\.json"):
        write_all(folder, RUN)
    assert not list(tmp_path.glob(".*.part"))


# --- JUnit ----------------------------------------------------------------------------------


def test_junit_says_what_ci_servers_understand(tmp_path: Path) -> None:
    cases = [*RUN, case("LIFE-1/uhci", Inconclusive(why="45 s"), "not_judged", "nothing proven")]
    folder = prepared(tmp_path)
    nowhere = Verdict("EMPTY-4", "not_judged", "no case of it was run")
    write_junit(folder, verdicts=[*verdicts_of(cases), nowhere], cases=cases)
    suites = {s.name: s for s in JUnitXml.fromfile(str(tmp_path / "junit.xml"))}
    assert set(suites) == {"requirements", "controls"}
    counts = suites["requirements"]
    assert (counts.tests, counts.failures, counts.errors, counts.skipped) == (10, 3, 2, 2)
    assert suites["controls"].tests == 1
    found = {t.name: t for t in counts}
    broken = found["EMPTY-1/ehci-exfat"]
    assert (broken.classname, broken.time) == ("EMPTY-1", 1.25)
    assert broken.is_failure
    assert broken.result[0].message == "hung (runaway): the CPU ran wild"
    assert found["MEDIA-1/uhci-disk"].is_error
    assert found["LIFE-1/uhci"].is_error
    assert found["SAFE-1/ehci-exfat"].result[0].message == "one endpoint address twice"
    assert found["SAFE-1/ehci-exfat"].is_skipped
    assert found["EMPTY-4"].is_skipped
    assert found["TOGGLE-3/uhci-ext4"].is_passed
    assert "cases/TOGGLE-3.uhci-ext4/bios.log" in found["TOGGLE-3/uhci-ext4"].system_out


def test_a_failed_control_is_an_error_never_a_failure(tmp_path: Path) -> None:
    failed = control("no-gadget", Hung("halted"), "broken", "the host hung alone")
    write_junit(prepared(tmp_path), verdicts=[], cases=[failed])
    controls = ElementTree.parse(tmp_path / "junit.xml").find("testsuite[@name='controls']")
    assert controls is not None
    assert (controls.get("errors"), controls.get("failures")) == ("1", "0")


def test_junit_survives_hostile_words(tmp_path: Path) -> None:
    bad = case("EMPTY-1/uhci", Booted(HOSTILE), "broken", HOSTILE, evidence=(HOSTILE,))
    bad = dataclasses.replace(bad, id=f"EMPTY-1/{HOSTILE}")
    write_junit(prepared(tmp_path), verdicts=verdicts_of([bad]), cases=[bad])
    failure = ElementTree.parse(tmp_path / "junit.xml").find(".//failure")
    assert failure is not None
    assert str(failure.get("message")).startswith(r"\x1b[31m\x00\x9b2J[bold]red[/bold]")
    assert "& <b> ]]>" in str(failure.text)


# --- the summary ----------------------------------------------------------------------------


def summary(
    cases: Sequence[CaseResult],
    verdicts: Sequence[Verdict] | None = None,
    status: int = 1,
    file: IO[str] | None = None,
    **more: Any,
) -> str:
    arguments: dict[str, Any] = {
        "firmware": "my tree",
        "bios": "blind",
        "report": Path("report"),
        "seconds": 31.4,
        "status": status,
    }
    run = Run(**(arguments | more))
    out = file or io.StringIO()
    verdicts = verdicts_of(cases) if verdicts is None else verdicts
    print_summary(ReportConsole(out), run, verdicts, cases)
    return out.getvalue() if isinstance(out, io.StringIO) else ""


GOLDEN = """
requirement   verdict      ehci                                         uhci
────────────────────────────────────────────────────────────────────────────────────────────────
EMPTY-1       BROKEN       BROKEN: 1 hung (runaway), 1 no boot device   BROKEN: hung (runaway)
SAFE-1        not judged   not judged: host not started
MEDIA-1       not judged                                                RIG FAULT
TOGGLE-3      kept         kept: booted next-device                     kept: booted next-device

EMPTY-1 is BROKEN (virtual disk on, nothing chosen: the host hears that the drive is empty and \
boots its next device): in EMPTY-1/ehci-exfat: hung (runaway): the CPU ran wild (and 2 more cases)
    run it again: ci/validate --firmware 'my tree' --bios blind -k EMPTY-1/ehci-exfat
    evidence:     report/cases/EMPTY-1.ehci-exfat
rig fault: MEDIA-1/uhci-disk: waited 10 s in vain for the shell
    evidence:     report/cases/MEDIA-1.uhci-disk
not judged: SAFE-1: SAFE-1/ehci-exfat: one endpoint address twice
not judged: MEDIA-1: MEDIA-1/uhci-disk: waited 10 s in vain for the shell
NOT safe to ship: 1 of 4 requirements broken: EMPTY-1 (6 cases, 31 s)
"""


def test_the_summary_of_a_run() -> None:
    assert [line.rstrip() for line in summary(RUN).splitlines()] == GOLDEN.splitlines()


def test_the_summary_survives_hostile_words() -> None:
    bad = case("EMPTY-1/uhci", Booted(HOSTILE), "broken", f"one\ntwo {HOSTILE}")
    ruined = case("MEDIA-1/uhci", RigFailed(), "rig_fault", HOSTILE, evidence=(f"x/{HOSTILE}",))
    lost = control("no-gadget", None, "rig_fault", HOSTILE)
    for cases in ([bad, ruined], [bad, ruined, lost]):
        text = summary(cases, firmware=HOSTILE, report=Path(HOSTILE))
        assert all(c == "\n" or c.isprintable() for c in text)
        assert r"\x1b[31m\x00\x9b2J[bold]red[/bold] [/] \udc80" in text
        assert ":skull:" in text
    assert "one | two" in summary([bad])


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (("",), "SAFE-2 is BROKEN ("),
        (("unmount",), "SAFE-2 is BROKEN by its unmount ("),
        (("toggle", "toggle"), "SAFE-2 is BROKEN by its toggle ("),
        (("boot script", "", "toggle"), "SAFE-2 is BROKEN by its boot script and toggle ("),
        (("boot script", "toggle", "unmount"), "by its boot script, toggle and unmount ("),
    ],
)
def test_the_part_of_the_firmware_that_did_it_is_named(
    paths: Sequence[str], words: str, tmp_path: Path
) -> None:
    cases = [
        case(f"SAFE-2/{number}", BOOTED, "broken", "it changed bytes", code_path=path)
        for number, path in enumerate(paths)
    ]
    kept = case("SAFE-2/kept", BOOTED, code_path="mount")
    assert words in summary([*cases, kept])
    results = write_all(prepared(tmp_path / "report"), cases)
    assert [c["code_path"] for c in results["cases"]] == list(paths)


def test_no_id_is_cut_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    long = case("EMPTY-1/uhci-" + "x" * 150, Hung("runaway"), "broken", "never code")
    text = summary([long])
    assert long.id in text
    assert "…" not in text
    assert summary(RUN).splitlines()[3].rstrip().endswith("BROKEN: hung (runaway)")


def test_force_color_makes_no_terminal_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b" not in summary(RUN)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    text = summary(RUN)
    assert "\x1b[" in text
    assert plain(text).splitlines()[3].rstrip().endswith("BROKEN: hung (runaway)")


def test_the_command_of_the_summary_selects_the_case_again() -> None:
    first = case("EMPTY-1/uhci-exfat", Hung("halted"), "broken", "HLT")
    for firmware, bios in [("stock", None), ("it's $(here)", "/a b/bios.bin")]:
        text = summary([first], firmware=firmware, bios=bios)
        (command,) = re.findall("run it again: (.*)", text)
        expected = ["ci/validate", "--firmware", firmware]
        expected += [] if bios is None else ["--bios", bios]
        assert shlex.split(command) == [*expected, "-k", first.id]


KEPT = [case("EMPTY-1/uhci", BOOTED)]
OPEN = [*KEPT, case("SAFE-1/uhci", None, "not_judged", "no server")]


@pytest.mark.parametrize(
    ("cases", "status", "more", "expected"),
    [
        (KEPT, 0, {}, "safe to ship as far as judged: 1 requirement kept (1 case, 31 s)"),
        (
            OPEN,
            0,
            {"seconds": 2.04},
            "safe to ship as far as judged: 1 requirement kept (1 case, 2.0 s); not judged: SAFE-1",
        ),
        (
            OPEN,
            3,
            {},
            "no verdict: every requirement was to be judged, and was not: SAFE-1 (1 case, 31 s)",
        ),
        (OPEN[1:], 3, {}, "no verdict: no requirement was judged (0 cases, 31 s)"),
        (RUN[:1], 3, {}, "no verdict: the rig failed in 1 case (0 cases, 31 s)"),
        (KEPT, 0, {"interrupted": True}, "no verdict: the run was interrupted (1 case, 31 s)"),
        (
            RUN[1:],
            1,
            {"interrupted": True},
            "NOT safe to ship: 1 of 3 requirements broken: EMPTY-1 (6 cases, 31 s); "
            "the run was interrupted",
        ),
        ([], 2, {}, "no verdict: no requirement was judged (0 cases, 31 s)"),
        (
            [*KEPT, control("stock-hangs", BOOTED, "broken", "it booted")],
            3,
            {},
            "no verdict: the instrument is out of order (0 cases, 31 s)",
        ),
    ],
)
def test_the_last_line_is_the_verdict(
    cases: list[CaseResult], status: int, more: dict[str, Any], expected: str
) -> None:
    assert summary(cases, status=status, **more).splitlines()[-1] == expected


def test_one_fault_of_the_rig_is_told_once() -> None:
    faults = [
        case(f"EMPTY-1/uhci-{i}", RigFailed(), "rig_fault", "the cable broke") for i in range(12)
    ]
    text = summary(faults, status=3)
    assert text.count("rig fault: ") == 1
    assert "EMPTY-1/uhci-0, EMPTY-1/uhci-1, EMPTY-1/uhci-2 and 9 more cases: the cable" in text


def test_notes_are_told_whatever_the_judgement(tmp_path: Path) -> None:
    noted = case("EMPTY-7/xhci", BOOTED, notes=("it waits for 5 s\x1b[2J",))
    assert "\nEMPTY-7/xhci: it waits for 5 s" in summary([noted], status=0)
    assert "\x1b" not in summary([noted], status=0)
    results = write_all(prepared(tmp_path / "report"), [noted])
    assert results["cases"][0]["notes"] == list(noted.notes)


def test_cases_that_disagree_are_counted() -> None:
    cases = [
        case("EMPTY-1/uhci-a", BOOTED),
        case("EMPTY-1/uhci-b", BOOTED),
        case("EMPTY-1/uhci-c", Hung("idle"), "broken", "idle"),
        case("EMPTY-1/uhci-d", BOOTED, "not_judged", "the drive was never asked"),
    ]
    expected = "BROKEN: 1 hung (idle); not judged: 1 booted next-device; kept: 2 booted next-device"
    assert expected in summary(cases)


PROGRAM = """
import sys
from pathlib import Path
from harness.outcome.verdict import Verdict
from harness.report.summary import Run, print_summary
from harness.report.terminal import ReportConsole
verdicts = [Verdict("EMPTY-1", "not_judged", "\\u2500 \\xe9")] * 3
print_summary(ReportConsole(), Run("stock", None, Path("r"), 1.0, 3), verdicts, [])
print("the end", flush=True)
sys.exit(3)
"""


def test_a_poor_terminal_and_a_closed_pipe_do_not_change_the_exit_status() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment, text=True,
    ) as run:  # fmt: skip
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert run.stderr.read() == ""
    assert run.returncode == 3
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, env=environment, text=True
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert r"not judged: EMPTY-1: \u2500 \xe9" in done.stdout


# --- a terminal -----------------------------------------------------------------------------


def plain(text: str) -> str:
    """`text` without terminal escapes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


class Terminal:
    """A pseudo terminal and what was written to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.delenv("TTY_INTERACTIVE", raising=False)
        self._ours, theirs = os.openpty()
        self.file = os.fdopen(theirs, "w")
        self._seen = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # EIO is how Linux says that the other end is closed.
        while True:
            try:
                self._seen += os.read(self._ours, 4096)
            except OSError:
                return

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + 5
        while text not in plain(self.now()):
            assert time.monotonic() < until, f"{text!r} never came: {self.now()!r}"
            time.sleep(0.01)

    def now(self) -> str:
        return self._seen.decode(errors="replace")

    def close(self) -> str:
        self.file.close()
        self._reader.join(5)
        os.close(self._ours)
        return self.now().replace("\r\n", "\n")


def test_the_summary_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, 60)
    summary(RUN, file=terminal.file)
    coloured = terminal.close()
    text = plain(coloured)
    assert "\x1b[1;31m" in coloured
    assert "…" not in text
    # A line that is copied stays whole; everything else fits.
    for line in text.splitlines():
        assert len(line) <= 60 or "run it again" in line
    assert "ci/validate --firmware 'my tree' --bios blind -k EMPTY-1/ehci-exfat\n" in text


@pytest.mark.parametrize("force_color", [False, True])
def test_a_log_gets_one_line_for_each_case(
    monkeypatch: pytest.MonkeyPatch, force_color: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    if force_color:
        monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    with Live(Console(file=out, width=40)) as live:
        live.note("booting the gadget VM once (about 15 s)")
        live.started("EMPTY-1/uhci-exfat")
        live.doing("EMPTY-1/uhci-exfat", "host: power on")
        live.ended(RUN[-1])
        live.total = 5
        live.ended(case("EMPTY-1/uhci-exfat", BOOTED))
        for result in (RUN[0], RUN[1], RUN[7]):
            live.ended(result)
        live.ended(control("no-gadget", Hung("halted"), "broken", "[bold]HLT\x1b[2J"))
    assert force_color == ("\x1b" in out.getvalue())
    assert "\x1b[2K" not in out.getvalue()
    assert plain(out.getvalue()).splitlines() == [
        "booting the gadget VM once (about 15 s)",
        "control/no-gadget: booted next-device, 1.2 s, as it must (control no-gadget)",
        "EMPTY-1/uhci-exfat: booted next-device, 1.2 s, as promised (3 left)",
        "MEDIA-1/uhci-disk: rig fault, 1.2 s, RIG FAULT: waited 10 s in vain for the shell "
        "(2 left)",
        "EMPTY-1/uhci-exfat: hung (runaway), 1.2 s, BROKEN: hung (runaway): the CPU ran wild "
        "(1 left)",
        "SAFE-1/ehci-exfat: host not started, 1.2 s, not judged: one endpoint address twice "
        "(0 left)",
        r"control/no-gadget: hung (halted), 1.2 s, CONTROL FAILED: [bold]HLT\x1b[2J (0 left)",
    ]


def test_a_terminal_shows_what_each_host_is_doing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, 40)
    console = ReportConsole(terminal.file)
    one, two = "EMPTY-1/uhci-exfat-hid", "EMPTY-1/xhci-exfat-hid_and_storage"
    with Live(console, total=2) as live:
        live.started(one)
        live.started(two)
        live.doing(one, "\x1b[2J[b]\nfrom 0000:7c00, and so on, and so on")
        terminal.wait_for(r"s  \x1b[2J[")
        terminal.wait_for(two)
        terminal.wait_for("2 left")
        live.ended(case(one, BOOTED))
        terminal.wait_for("as promised (1 left)")
        live.doing(one, "too late")
    raw = terminal.close()
    assert "\x1b[2J" not in raw
    assert "too late" not in raw
    for line in plain(raw).splitlines():
        assert len(line) <= 40 or "as promised" in line
    # What is left on the screen: the lasting line alone.
    assert one not in raw.split("as promised (1 left)")[-1]
    assert raw.endswith("\x1b[1A\x1b[2K")


def test_many_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.report.live.REFRESHES", 1000)
    terminal = Terminal(monkeypatch, 80)
    live = Live(ReportConsole(terminal.file), total=120)

    def work(worker: int) -> None:
        for i in range(30):
            name = f"EMPTY-1/uhci-w{worker}i{i}"
            live.started(name)
            live.doing(name, "host: power on")
            live.ended(case(name, BOOTED))

    with live:
        threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads), "the live lines are deadlocked"
    left = [int(n) for n in re.findall(r"as promised \((\d+) left\)", plain(terminal.close()))]
    assert left == list(range(119, -1, -1))
