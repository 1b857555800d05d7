"""Whose doing it is that a disturbed host hangs: the same is done to it with QEMU's own drive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from harness.errors import RigFault
from harness.host.stick import Stick
from harness.observation import (
    BiosLine,
    ControlRequest,
    Disturbed,
    Handover,
    Observation,
    Plugged,
    ScsiCommand,
    Unplugged,
)
from harness.outcome.kinds import Inconclusive, Outcome
from harness.outcome.moments import Disturbance, Mark, boot_marks
from harness.rig.case import Case
from harness.rig.gadget import Gadget
from harness.rig.host import Host

FOLDER = "qemus-own-drive"
"""Folder of the evidence of a boot with that."""


def marks_nearby(mark: Mark, marks: Sequence[Mark], others: Sequence[Mark]) -> list[Mark]:
    """The lines of the BIOS's log right before and right after a mark, that both boots have.

    What crosses a cable is not to be seen of QEMU's own drive. `marks` are those of a boot with
    the gadget, `others` those of one with that drive.
    """
    place = marks.index(mark)
    shared = [(i, m) for i, m in enumerate(marks) if m.kind == "line" and m in others]
    before = [m for i, m in shared if i <= place][-1:]
    after = [m for i, m in shared if i > place][:1]
    return before + after


def away(stream: Sequence[Observation]) -> float | None:
    """How many seconds the gadget was gone after the host was disturbed.

    0 if it never left, None if it did not come back.
    """
    since = next((i for i, seen in enumerate(stream) if isinstance(seen, Disturbed)), len(stream))
    left = next((seen.at for seen in stream[since:] if isinstance(seen, Unplugged)), None)
    if left is None:
        return 0.0
    back = (seen.at for seen in stream if isinstance(seen, Plugged) and seen.at > left)
    return next((at - left for at in back), None)


def silent_since(stream: Sequence[Observation]) -> bool:
    """Whether a host has said nothing since it was disturbed, nor asked the gadget anything.

    When it was reset it has not come to its BIOS then, let alone to the gadget. QEMU's machine
    keeps its memory through a reset, and SeaBIOS moves there (src/fw/shadow.c,
    __make_bios_writable_intel): a reset in that moment finds a BIOS of zeros.
    """
    since = next((i for i, seen in enumerate(stream) if isinstance(seen, Disturbed)), len(stream))
    got_on = BiosLine | ControlRequest | ScsiCommand | Handover
    return not any(isinstance(seen, got_on) for seen in stream[since:])


def same_with_stick(
    case: Case,
    controller: str,
    disturbance: Disturbance,
    whole: Sequence[Observation],
    stick: Stick,
    outcome: Outcome,
) -> Mark | None:
    """At which line of its log the same deed makes the host end alike with QEMU's own drive.

    None when it ends otherwise. `whole` is what was seen of a boot that nothing disturbed. The
    evidence of each of these boots is kept. Raises NotJudged when the deed cannot be done to that
    drive, RigFault when the rig failed.
    """
    plugged = disturbance.deed.begins_plugged
    with _host(case, "rehearsed", stick) as host:
        others = host.rehearse(controller, plugged=plugged).stream
    nearby = marks_nearby(disturbance.mark, boot_marks(whole), boot_marks(others))
    for number, mark in enumerate(nearby, 1):
        case.say(f"host: the same with QEMU's own drive, after {mark}")
        with _host(case, str(number), stick) as host:
            same = replace(disturbance, mark=mark)
            boot = host.boot(controller, must_ask_drive=False, disturb=same)
        if boot.outcome == outcome:
            return mark
    return None


def ends_with(case: Case, controller: str, stick: Stick, seconds: float) -> Outcome:
    """How a host with QEMU's own drive ends, given so many seconds. Its evidence is kept.

    Raises RigFault when that cannot be proven, and when the rig failed.
    """
    case.say("host: the same with QEMU's own drive")
    with _host(case, "undisturbed", stick) as host:
        outcome = host.rehearse(controller, seconds=seconds).outcome
    if isinstance(outcome, Inconclusive):
        raise RigFault(f"with QEMU's own drive the host came to no end: {outcome.why}")
    return outcome


@contextmanager
def _host(case: Case, name: str, stick: Stick) -> Iterator[Host]:
    """A host with QEMU's own drive, the evidence of which is in a folder of the case's."""
    folder = Path(FOLDER) / name
    scratch = case.scratch / f"{FOLDER}-{name}"
    scratch.mkdir(mode=0o700)
    (case.evidence / folder).mkdir(parents=True)
    own = Case(case.equipment, scratch, case.evidence / folder, case.say)
    with closing(Host(own, Gadget(own), stick)) as host:
        yield host
        host.collect()
    case.record.evidence.extend(str(folder / name) for name in own.record.evidence)
