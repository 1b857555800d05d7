"""The command line. `ci/validate ARGS` is `bootgate validate ARGS`."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import click

from harness import __version__
from harness.errors import BootgateError
from harness.firmware import faults, shipped
from harness.host.pc import BIOSES, CONTROLLERS, DEFAULT_BIOS
from harness.owner import printable

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
@click.option(
    "--server",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="the device's own server, built for x86-64 Linux; without it what needs one is judged "
    "with the tree's own, if the gadget VM can run that",
)
@click.option(
    "--overlay",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="files that are laid over the device's root, such as kvmapp and etc/kvm",
)
@click.option("--report", default=REPORT, show_default=True, metavar="DIR", help="report folder")
@click.option(
    "--controller",
    multiple=True,
    type=click.Choice(list(CONTROLLERS)),
    help="only this USB controller; may be given again",
)
@click.option(
    "--bios",
    metavar=f"{'|'.join(BIOSES)}|FILE",
    help="only this BIOS in the PC; without this option what depends on the BIOS is judged on "
    f"{', '.join(BIOSES)}, and all else on {DEFAULT_BIOS}",
)
@click.option("-k", "keyword", default="", metavar="EXPR", help="only cases that match")
@click.option("--list", "list_only", is_flag=True, help="say which cases would be run")
@click.option("--full", is_flag=True, help="also the cases that add little")
@click.option(
    "--seed",
    type=int,
    metavar="NUMBER",
    help="also a sample of the moments of POST that --full goes through, the same for each number",
)
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
    server: Path | None,
    overlay: Path | None,
    report: str,
    controller: tuple[str, ...],
    bios: str | None,
    keyword: str,
    list_only: bool,
    full: bool,
    seed: int | None,
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
        server=server,
        overlay=overlay,
        bios=bios,
        controllers=controller,
        keyword=keyword,
        full=full,
        seed=seed,
        report=Path(report),
        workers=workers,
        require_all=require_all,
    )
    if not list_only:
        sys.exit(validate(choice))
    for line in listed(choice):
        click.echo(line)


@command.command("probe")
@click.option(
    "--firmware",
    default="fixed",
    show_default=True,
    metavar="NAME|PATH",
    help="as for validate",
)
@click.option("-k", "keyword", default="", metavar="WORD", help="only checks with it in their name")
@click.option("--wire", is_flag=True, help="show what crossed the cable for each check")
def probe_command(firmware: str, keyword: str, wire: bool) -> None:
    """Ask the firmware's drive itself, without a PC, and judge its answers by the standards.

    Exit status: 0 nothing broken, 1 the drive breaks a clause, 2 wrong usage or unusable input,
    3 the rig failed.
    """
    from harness.probing import probe  # only now, as above

    sys.exit(probe(firmware, keyword, wire=wire))


def main() -> None:
    """Entry point: every error is one line and its exit status.

    Status 1 belongs to the firmware alone, so no error of our own may end with Python's 1.
    """
    # Until there is something to clean up, Ctrl-C ends the process without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _keep_out_of_the_run()
    try:
        # Not command(): that ends with status 1 when whoever reads our output goes away.
        with command.make_context("bootgate", sys.argv[1:]) as context:
            command.invoke(context)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        _tell(error.show)
        sys.exit(error.exit_code)
    except BootgateError as error:
        _complain(str(error))
        sys.exit(error.exit_status)
    except BrokenPipeError:  # whoever read our output has gone: `... --list | head`
        _let_go(1)
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        _let_go(1)
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = printable(f"{type(error).__name__}: {error}")
        where = f"{Path(place.filename).name}, line {place.lineno}"
        _complain(f"internal error: {said} ({where}): report this")
        sys.exit(3)


def _keep_out_of_the_run() -> None:
    """Neither the user's pytest settings nor code in the current folder act on a run.

    Of this process and its workers, which inherit the environment. Without PYTHONSAFEPATH
    (Python 3.11) a worker, `python -c`, would import what lies in the current folder first,
    which may be a firmware that nobody trusts yet.
    """
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]
    os.environ["PYTHONSAFEPATH"] = "1"


def _complain(line: str) -> None:
    _tell(lambda: click.echo(f"bootgate: {line}", err=True))


def _tell(show: Callable[[], None]) -> None:
    """Say why the process ends; the exit status says it where standard error cannot."""
    try:
        show()
    except OSError:
        _let_go(2)


def _let_go(descriptor: int) -> None:
    """Send into the void what is still to be written.

    Or Python would try once more at its end, and give the process a status of its own.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


if __name__ == "__main__":
    main()
