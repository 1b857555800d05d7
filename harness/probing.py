"""The probes alone: every check of `harness.probe`, of a virtual gadget in each of its states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import usb.util
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cable.conversation import transcript
from harness.equipment import Equipment, prepare
from harness.errors import FirmwareFault, NotJudged, UsageError
from harness.firmware import Gate, open_firmware
from harness.outcome.kinds import MEDIUM
from harness.owner import RunFolder, printable, stoppable
from harness.probe.bulk_only import codes
from harness.probe.checks import CHECKS, Check, Held
from harness.probe.run import Finding, asked_in, findings
from harness.report.summary import say_table
from harness.report.terminal import ReportConsole, say
from harness.report.words import count, one_line
from harness.rig import Rig
from images.payload import write_boot_disk

STATES = {
    Held.NOTHING: (Gate.EMPTY, {}),
    Held.MEDIUM: (Gate.path("/data/boot.img"), {}),
    Held.READ_ONLY: (Gate.path("/data/boot.img"), {"usb.disk0.ro": b""}),
}
"""The gate files that bring each state about."""

_MARKS = {
    "kept": ("kept", "green"),
    "broken": ("BROKEN", "bold red"),
    "kernel": ("broken by the kernel's f_mass_storage", "yellow"),
    "not_judged": ("not judged", "yellow"),
}
_TRANSFERS = {0: "control", 1: "isochronous", 2: "bulk", 3: "interrupt"}


def probe(firmware: str, keyword: str, *, wire: bool) -> int:
    """Ask, and print what came of it; returns the exit status.

    `keyword` chooses among the checks, `wire` shows what crossed the cable. Raises UsageError and
    RigFault when nothing could be asked.
    """
    if not any(keyword in check.name for check in CHECKS):
        names = ", ".join(check.name for check in CHECKS)
        raise UsageError(f"-k {printable(keyword)}: no check has that in its name: {names}")
    console = ReportConsole()
    with stoppable() as signals:
        try:
            return _probe(console, firmware, keyword, wire)
        except (Exception, KeyboardInterrupt):
            if not signals:
                raise
            return 128 + signals[0]


def _probe(console: Console, firmware: str, keyword: str, wire: bool) -> int:
    found: list[Finding] = []
    faults: list[str] = []
    left = 0
    with RunFolder() as scratch:
        opened = open_firmware(firmware, scratch.path / "firmware")
        equipment = prepare(opened, "seabios", scratch.path, lambda text: say(console, text))
        for held in Held:
            checks = [check for check in asked_in(held) if keyword in check.name]
            if not checks:
                continue
            say(console, f"a drive with {held.value}", "bold")
            try:
                found += _asked(console, equipment, scratch.path / held.name, held, checks, wire)
            except FirmwareFault as fault:
                faults.append(f"with {held.value}: {one_line(str(fault))}")
                say(console, f"    BROKEN: {one_line(str(fault))}", "bold red")
            except NotJudged as why:
                left += len(checks)
                say(console, f"    not judged: {one_line(str(why))}", "yellow")
    return _say_end(console, found, faults, left)


def _asked(
    console: Console,
    equipment: Equipment,
    folder: Path,
    held: Held,
    checks: Sequence[Check],
    wire: bool,
) -> list[Finding]:
    gate, extra = STATES[held]
    scratch, evidence = folder / "scratch", folder / "evidence"
    scratch.mkdir(mode=0o700, parents=True)
    evidence.mkdir()
    medium = folder / "boot.img"
    write_boot_disk(medium, MEDIUM)
    with closing(Rig(equipment, scratch, evidence)) as rig:
        rig.gadget.start(gate=gate, extra=extra, media=[medium])
        with rig.gadget.drive(read_only=held is Held.READ_ONLY) as drive:
            for line in _layout(drive.device):
                say(console, f"    {one_line(line)}", whole=True)
            more = _crossed(rig) if wire else None
            return _table(console, findings(drive, held, checks), more)


def _crossed(rig: Rig) -> Callable[[], str]:
    """A function that gives what has crossed the cable since it was called last."""
    told = len(rig.recorder.seen())

    def more() -> str:
        nonlocal told
        before, told = told, len(rig.recorder.seen())
        return transcript(rig.recorder.seen()[before:])

    return more


def _layout(device: Any) -> Iterator[str]:
    """Which interface is where: class codes, and each endpoint with its kind and packet size."""
    for interface in device.get_active_configuration():
        kind = "/".join(f"{code:02X}" for code in codes(interface))
        endpoints = ", ".join(
            f"{e.bEndpointAddress:02X} {_TRANSFERS[usb.util.endpoint_type(e.bmAttributes)]} "
            f"{e.wMaxPacketSize}"
            for e in interface
        )
        yield f"interface {interface.bInterfaceNumber}: {kind}; endpoints {endpoints or 'none'}"


def _table(
    console: Console, asked: Iterator[Finding], more: Callable[[], str] | None
) -> list[Finding]:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("check", "must", "clause", "result"):
        table.add_column(column, overflow="fold")
    found = []
    for finding in asked:
        found.append(finding)
        mark, style = _MARKS[finding.result]
        text = Text(mark, style)
        if finding.why:
            text.append(f": {one_line(finding.why)}")
        if finding.result == "kernel":
            text.append(f" ({finding.check.kernel})")
        check = finding.check
        table.add_row(check.name, Text(check.says), Text(check.clause), text)
        if more is not None:
            say(console, f"    {check.name}", "bold")
            for line in more().splitlines():
                say(console, f"      {printable(line, 300)}", whole=True)
    say_table(console, table)
    return found


def _say_end(
    console: Console, found: Sequence[Finding], faults: Sequence[str], left: int = 0
) -> int:
    """Print the last line; returns the exit status. `left` checks could not be asked at all."""
    results = [finding.result for finding in found]
    broken = results.count("broken") + len(faults)
    kernel = results.count("kernel")
    known = f", {kernel} broken by the kernel's own f_mass_storage" if kernel else ""
    left += results.count("not_judged")
    unjudged = f", {left} not judged" if left else ""
    if broken:
        say(console, f"{count(broken, 'check')} BROKEN{known}{unjudged}", "bold red")
        return 1
    if not results.count("kept"):
        say(console, f"no verdict: nothing was judged{known}{unjudged}", "bold yellow")
        return 3
    kept = count(results.count("kept"), "check")
    say(console, f"{kept} kept{known}{unjudged}", "bold green")
    return 0
