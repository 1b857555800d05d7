"""The pytest plugin: gives requirement tests their `rig`, and makes results of them.

Loaded in every process of a run. Under `bootgate validate` the first process owns the
equipment and hands it to its workers (pytest-xdist); under plain pytest the process makes
its own when the first test wants it.
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.equipment import Equipment, prepare
from harness.errors import (
    BootgateError,
    FirmwareFault,
    Misbehaved,
    NotJudged,
    RigFault,
    ServerFault,
)
from harness.firmware import open_firmware
from harness.host.pc import BIOSES, CONTROLLERS, DEFAULT_BIOS
from harness.outcome.kinds import MEDIUM, Inconclusive, NoDrive, Outcome, RigFailed
from harness.outcome.verdict import CaseResult, Judgement
from harness.owner import RunFolder, die_with_parent, printable
from harness.report.folder import ReportFolder
from harness.rig import Record, Rig
from images.medium import Media

requirement = pytest.mark.requirement
"""@requirement("EMPTY-1"): the test is a case of that promise of the catalogue."""

control = pytest.mark.control
"""@control("name"): the test checks the instrument in the very run; it is always run."""

full = pytest.mark.full
"""Marks a case that only --full runs."""

elsewhere = pytest.mark.elsewhere
"""Marks a case that the same on another controller stands for: run with --full, or if --controller
names its own."""

swept = [full, pytest.mark.swept]
"""Marks a case that differs from many others of its requirement in its moment alone: --full runs
it, and --seed, if that chooses it."""

early = pytest.mark.early
"""Marks a case that takes far longer than others: it is begun first."""

SAMPLE = 3
"""How many of the cases of a requirement that are swept --seed chooses."""

FILE = "file"
"""In a case's id: the BIOS is the file that the user named."""

RESULT = "bootgate"
"""Name of the user property that carries a CaseResult from a worker to the first process."""


@dataclass
class Run:
    """What the first process of a run gives to its workers."""

    equipment: Equipment
    scratch: Path
    report: Path
    status: Path | None = None
    """A named pipe for Status lines, or None when nobody watches."""


@dataclass
class _Case:
    """One test on its way to a CaseResult."""

    id: str
    started: float = field(default_factory=time.monotonic)
    record: Record = field(default_factory=Record)
    evidence: tuple[str, ...] = ()
    judgement: Judgement = "rig_fault"
    reason: str = "the case was not run"


_RUN = pytest.StashKey[Run]()
_CASE = pytest.StashKey[_Case]()
_WORKER = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that a requirement test depends on."""
    group = parser.getgroup("bootgate")
    group.addoption("--firmware", default="fixed", help="name or path of the firmware under test")
    group.addoption("--bios", help=f"only this: {', '.join(BIOSES)}, or a BIOS image file")
    group.addoption("--controller", action="append", choices=CONTROLLERS, help="only this one")
    group.addoption("--seed", type=int, help="also a sample of the moments, by this number")
    group.addoption(
        "--uncontrolled",
        action="store_true",
        help="without controls: only beside runs on the same machine that have theirs",
    )
    group.addoption("--full", action="store_true", help="also the cases that add little")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; in a worker, take what the first process gives."""
    for line in (
        "requirement(id): the promise of the catalogue that the test is a case of",
        "control(name): a check of the instrument itself",
        "full: run with --full only",
        "elsewhere: run with --full, or if its controller was chosen",
        "swept: differs from other cases in its moment alone",
        "early: begun first",
    ):
        config.addinivalue_line("markers", line)
    given = getattr(config, "workerinput", {}).get(RESULT)
    if given is not None:
        parent, run = pickle.loads(given)
        die_with_parent(parent)
        config.stash[_RUN] = run
        config.stash[_WORKER] = config.workerinput["workerid"]  # type: ignore[attr-defined]


def give(run: Run) -> bytes:
    """What a worker's `workerinput` needs under `RESULT`."""
    return pickle.dumps((os.getpid(), run))


# --- which cases ------------------------------------------------------------------------------


def case_id(item: pytest.Item) -> str:
    """Such as "EMPTY-1/hid_and_storage-exfat-ehci": unique, and good for -k as it is."""
    name = argument(item, "requirement") or "control"
    callspec = getattr(item, "callspec", None)
    if callspec is not None and callspec.id:
        bios = _parameters(item).get("bios")
        if bios is not None and _is_file(item.config.getoption("--bios")):
            return f"{name}/{callspec.id.replace(bios, FILE, 1)}"
        return f"{name}/{callspec.id}"
    return f"{name}/{item.name.removeprefix('test_')}"


def argument(item: pytest.Item, marker: str) -> str:
    """What the marker "requirement" or "control" of a test says; empty if it has none."""
    found = item.get_closest_marker(marker)
    return str(found.args[0]) if found else ""


def _is_case(item: pytest.Item) -> bool:
    return bool(argument(item, "requirement") or argument(item, "control"))


def controller_of(item: pytest.Item) -> str | None:
    """The controller that a case is for by its parameters, None if by those it is for none."""
    return _parameters(item).get("controller")


def bios_of(item: pytest.Item) -> str | None:
    """The BIOS that a case is for by its parameters, None if it is for the run's."""
    return _parameters(item).get("bios") if not _is_file(item.config.getoption("--bios")) else None


def _parameters(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec is not None else {}


def _is_file(bios: str | None) -> bool:
    return bios is not None and bios not in BIOSES


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let -k see the case's id."""
    if _is_case(item):
        item.extra_keyword_matches.add(case_id(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """Leave out what was not asked for; put the controls, which are always run, first."""
    controls = [item for item in items if argument(item, "control")]
    sample = _sample(config, items)
    wanted = [
        item for item in items if item not in controls and _wanted(config, item, item in sample)
    ]
    if _is_file(config.getoption("--bios")):
        wanted = _once_each(wanted)
    items[:] = sorted(wanted, key=lambda item: item.get_closest_marker("early") is None)
    yield  # here -k is applied
    if any(_is_case(item) for item in items) and not config.getoption("--uncontrolled"):
        items[:0] = controls


def _once_each(items: list[pytest.Item]) -> list[pytest.Item]:
    """Of cases that differ in their BIOS alone the first: it stands for the user's file."""
    firsts: dict[str, pytest.Item] = {}
    for item in items:
        firsts.setdefault(case_id(item) if "bios" in _parameters(item) else item.nodeid, item)
    return list(firsts.values())


def _sample(config: pytest.Config, items: list[pytest.Item]) -> set[pytest.Item]:
    """The cases that the seed chooses, always the same ones, among those of each requirement."""
    seed = config.getoption("--seed")
    if seed is None:
        return set()
    groups: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("swept"):
            groups[argument(item, "requirement")].append(item)
    return {
        item
        for name, group in groups.items()
        for item in Random(f"{seed} {name}").sample(group, min(SAMPLE, len(group)))
    }


def _wanted(config: pytest.Config, item: pytest.Item, sampled: bool) -> bool:
    controller, bios = controller_of(item), bios_of(item)
    controllers, chosen = config.getoption("--controller"), config.getoption("--bios")
    everything = sampled or config.getoption("--full")
    if item.get_closest_marker("full") and not everything:
        return False
    if item.get_closest_marker("elsewhere") and not (everything or controllers):
        return False
    if controller and controllers and controller not in controllers:
        return False
    return not (bios and chosen) or bios == chosen


# --- what a case is given ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Run]:
    """What all cases of the run share."""
    config = request.config
    if _RUN in config.stash:
        yield config.stash[_RUN]
        return
    with RunFolder() as folder:
        report = Path(tempfile.mkdtemp(prefix="report-", dir=folder.path))
        firmware = open_firmware(config.getoption("--firmware"), folder.path / "firmware")
        bios = config.getoption("--bios") or DEFAULT_BIOS
        equipment = prepare(firmware, bios, folder.path, print)
        yield Run(equipment, folder.path, report)


@pytest.fixture
def rig(request: pytest.FixtureRequest, bench: Run) -> Iterator[Rig]:
    """Gadget, cable and host for one case, with their power off."""
    case = request.node.stash[_CASE]
    report = ReportFolder(bench.report)
    evidence = report.case_folder(case.id)
    with tempfile.TemporaryDirectory(prefix="case-", dir=bench.scratch) as scratch:
        rig = Rig(bench.equipment, Path(scratch), evidence, _teller(bench.status, case.id))
        case.record = rig.record
        try:
            yield rig
            if case.judgement == "broken" and rig.record.outcome is None:
                _boot_anyway(rig, request.node.funcargs)
        finally:
            rig.close()
            case.evidence = tuple(report.relative(evidence / n) for n in rig.record.evidence)


def _boot_anyway(rig: Rig, arguments: Mapping[str, object]) -> None:
    """See what a PC does with the drive in a case that was decided before there was a PC.

    As when a server fails.
    """
    controller = arguments.get("controller", arguments.get("fast_controller"))
    if controller is None:
        return
    try:
        rig.host.boot(str(controller), must_ask_drive=False)
    except BootgateError as error:
        if rig.record.outcome is None:
            rig.record.outcome = RigFailed(why=f"no PC could be booted: {error}")


@pytest.fixture
def fast_controller(request: pytest.FixtureRequest) -> str:
    """The controller for cases that need just one: EHCI, on which SeaBIOS waits for nothing."""
    chosen = request.config.getoption("--controller")
    return "ehci" if not chosen or "ehci" in chosen else str(chosen[0])


@pytest.fixture
def bios(request: pytest.FixtureRequest) -> str | None:
    """The BIOS of a case that is for one; None when the user named a file, which is the run's.

    For tests with @pytest.mark.parametrize("bios", ..., indirect=["bios"]): only so a file can
    take the place of what they name.
    """
    return None if _is_file(request.config.getoption("--bios")) else str(request.param)


@pytest.fixture
def media(bench: Run) -> Iterator[Media]:
    """Makes media for the device, in a folder that goes away with the case."""
    with tempfile.TemporaryDirectory(prefix="media-", dir=bench.scratch) as folder:
        yield Media(Path(folder))


@pytest.fixture
def boot_image(media: Media) -> Callable[[str], Path]:
    """Makes a disk image of a given file name whose boot sector says that it is the medium."""
    return lambda name: media.disk(name, MEDIUM)


def _teller(status: Path | None, case: str) -> Callable[[str], None]:
    """Says what a case is doing: a line of JSON in the named pipe, short enough to be atomic."""

    def tell(text: str) -> None:
        if status is not None:
            line = json.dumps({"case": case, "doing": text}) + "\n"
            with suppress(OSError), open(status, "w", encoding="utf-8") as pipe:
                pipe.write(line)

    return tell


# --- what comes of it -------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Start the case's clock."""
    if _is_case(item):
        item.stash[_CASE] = _Case(case_id(item))
        run = item.config.stash.get(_RUN, None)
        if run is not None:
            _teller(run.status, item.stash[_CASE].id)("waiting for its turn")
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the case by how its test ended; hand the result on with the last report."""
    report = yield
    case = item.stash.get(_CASE, None)
    if case is None:
        return report
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, NotJudged):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, f"Skipped: not judged: {printable(str(error))}")
    if call.when == "call" or error is not None:
        _judge(item, case, error, str(call.when))
    if call.when == "teardown":
        report.user_properties.append((RESULT, json.dumps(asdict(_result(item, case)))))
    if _WORKER in item.config.stash:
        # The result says it all, and says it in ASCII; what pytest would tell may hold names
        # that are no UTF-8, which cannot be sent to the first process.
        report.sections = []
        report.longrepr = case.reason if report.failed else report.longrepr
    return report


def _judge(item: pytest.Item, case: _Case, error: BaseException | None, when: str) -> None:
    """What the end of the test says of the case, and of the firmware.

    A FirmwareFault, and an AssertionError of the test itself, contradict the requirement:
    broken. One exception: an assertion about the host's outcome proves nothing when that is
    inconclusive. Nor is any promise kept then: without a contradiction that stands by itself
    (such as a LUN on a partition) an inconclusive host is the rig's fault. In a control,
    every contradiction is.
    """
    text = str(error).strip() if error is not None else ""
    reason = printable(text.splitlines()[0] if text else type(error).__name__, 600)
    outcome = case.record.outcome
    unproven = isinstance(outcome, Inconclusive)
    against: Judgement = "rig_fault" if argument(item, "control") else "broken"
    if isinstance(error, FirmwareFault):
        case.judgement, case.reason = against, reason
        # Where a server fails, or a drive errs, it is not yet known what a PC does with it.
        has_drive = isinstance(error, ServerFault | Misbehaved)
        if (outcome is None or unproven) and not has_drive:
            case.record.outcome = NoDrive(why=reason)
    elif isinstance(error, AssertionError) and when == "call":
        about_unproven = unproven and _is_about(text, outcome)
        case.judgement, case.reason = "rig_fault" if about_unproven else against, reason
    elif error is None or isinstance(error, NotJudged | pytest.skip.Exception):
        case.judgement, case.reason = ("kept", "") if error is None else ("not_judged", reason)
        if outcome is not None and unproven:
            case.judgement = "rig_fault"
            case.reason = printable(f"{outcome}: {outcome.why}", 600)
    else:
        if not isinstance(error, RigFault):
            reason = f"{type(error).__name__}: {reason}"
        case.judgement, case.reason = "rig_fault", reason
        case.record.outcome = RigFailed(why=reason)


def _is_about(text: str, outcome: Outcome | None) -> bool:
    """Whether the text of a failed assertion is about the outcome.

    Either it is `Boot.explain`, which begins with the outcome's words, or what failed was
    taken from the outcome or from the Boot that holds it: pytest writes both out then.
    """
    return text.startswith(str(outcome)) or f"{type(outcome).__name__}(" in text


def _result(item: pytest.Item, case: _Case) -> CaseResult:
    record = case.record
    run = item.config.stash.get(_RUN, None)
    chosen = run.equipment.bios if run is not None else item.config.getoption("--bios")
    return CaseResult(
        id=case.id,
        requirement=argument(item, "requirement"),
        control=argument(item, "control"),
        controller=record.controller,
        bios=record.bios or bios_of(item) or chosen or DEFAULT_BIOS,
        data_partition=record.data_partition,
        outcome=record.outcome.to_json() if record.outcome is not None else None,
        judgement=case.judgement,
        reason=case.reason,
        boot_seconds=record.boot_seconds,
        total_seconds=round(time.monotonic() - case.started, 3),
        evidence=case.evidence,
        versions=record.versions,
        notes=tuple(printable(note, 600) for note in record.notes),
        code_path=record.code_path,
    )


def result_of(report: pytest.TestReport) -> CaseResult | None:
    """The CaseResult that a test's last report carries, in the first process."""
    for name, value in report.user_properties:
        if name == RESULT:
            fields = json.loads(str(value))
            fields["evidence"], fields["notes"] = tuple(fields["evidence"]), tuple(fields["notes"])
            return CaseResult(**fields)
    return None
