"""The command line. `ci/validate ARGS` is `bootgate validate ARGS`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import click

from harness import __version__
from harness.errors import BootgateError
from harness.firmware import faults, shipped
from harness.host.pc import CONTROLLERS

REPORT = "bootgate-report"

WORKERS_PER_CORE = 2
"""A host that waits for its BIOS needs no core to itself: SeaBIOS's waits are wall time."""


@click.group()
@click.version_option(__version__, prog_name="bootgate")
def command() -> None:
    """Prove that a PC with a legacy BIOS still boots with an IP-KVM's USB gadget plugged in."""


@command.command("validate")
@click.option(
    "--firmware",
    default="fixed",
    show_default=True,
    metavar="NAME|PATH",
    help=f"{', '.join(shipped())}, or a source checkout, a kvmapp folder, a release .tar.gz, "
    f"PATH@GITREF. Seeded faults: {', '.join(faults())}.",
)
@click.option("--report", default=REPORT, show_default=True, metavar="DIR", help="report folder")
@click.option(
    "--controller",
    multiple=True,
    type=click.Choice(list(CONTROLLERS)),
    help="only this USB controller; may be given again",
)
@click.option("--bios", default="seabios", show_default=True, metavar="seabios|FILE")
@click.option("-k", "keyword", default="", metavar="EXPR", help="only cases that match")
@click.option("--list", "list_only", is_flag=True, help="say which cases would be run")
@click.option("--full", is_flag=True, help="also the cases that add little")
@click.option("--require-all", is_flag=True, help="status 3 if a requirement was not judged")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=lambda: WORKERS_PER_CORE * len(os.sched_getaffinity(0)),
    show_default="2 for each core",
    help="cases at once",
)
def validate_command(
    firmware: str,
    report: str,
    controller: tuple[str, ...],
    bios: str,
    keyword: str,
    list_only: bool,
    full: bool,
    require_all: bool,
    workers: int,
) -> None:
    """Boot PCs with the firmware's gadget plugged in and judge what they do.

    Exit status: 0 nothing broken, 1 the firmware breaks a requirement, 2 wrong usage or
    unusable input, 3 the rig failed.
    """
    from harness.validation import Choice, listed, validate  # only now: it takes half a second

    choice = Choice(
        firmware=firmware,
        bios=bios,
        controllers=controller,
        keyword=keyword,
        full=full,
        report=Path(report),
        workers=workers,
        require_all=require_all,
    )
    if not list_only:
        sys.exit(validate(choice))
    for line in listed(choice):
        click.echo(line)


def main() -> None:
    """Entry point: every error on purpose is one line and its exit status."""
    # Until there is something to clean up, Ctrl-C ends the process without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        command(prog_name="bootgate")
    except BootgateError as error:
        click.echo(f"bootgate: {error}", err=True)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
