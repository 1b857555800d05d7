"""Asks a drive all that fits its state, one check after the other, whatever comes of each."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import usb.core

from harness.errors import Misbehaved
from harness.probe.bulk_only import Drive
from harness.probe.checks import CHECKS, Check, Held

Result = Literal["kept", "broken", "kernel", "not_judged"]


@dataclass(frozen=True)
class Finding:
    """What came of a check. `kernel`: broken by Linux's own f_mass_storage, as it is known to."""

    check: Check
    held: Held
    result: Result
    why: str = ""

    def __str__(self) -> str:
        """Why it is not kept, and the clause that says that it has to be."""
        return f"{self.why} ({self.check.clause})"


def asked_in(held: Held) -> list[Check]:
    """The checks for a drive that holds that."""
    return [check for check in CHECKS if held in check.held]


def findings(drive: Drive, held: Held, checks: Sequence[Check]) -> Iterator[Finding]:
    """Ask each check of a drive that should hold that; behind each the drive is put right again.

    Raises RigFault when the cable breaks.
    """
    gone = ""
    for check in checks:
        if gone:
            yield Finding(check, held, "not_judged", gone)
            continue
        why, answered = _asked(drive, check)
        if why and not _put_right(drive):
            gone = f"after {check.name} the drive did not answer any more"
        known = check.kernel and answered and not gone
        broken: Result = "kernel" if known else "broken"
        yield Finding(check, held, broken if why else "kept", why)


def _asked(drive: Drive, check: Check) -> tuple[str, bool]:
    """Why it is broken, "" when it is kept; and whether the drive has answered."""
    try:
        drive.settle()
        check.ask(drive)
    except Misbehaved as error:
        return str(error), True
    except ValueError as error:  # pyusb, of a string descriptor without a language
        return f"its answer cannot be read: {error}", True
    except usb.core.USBTimeoutError as error:
        return f"no answer: {error.strerror}", False
    except usb.core.USBError as error:
        if error.errno == errno.ENODEV:
            return "the device left the bus", False
        return f"the device refused: {error.strerror}", False
    return "", True


def _put_right(drive: Drive) -> bool:
    """Whether the drive answers again: after reset recovery, or after a reset of its device."""
    for mend in (drive.recover, drive.device.reset):
        with contextlib.suppress(Misbehaved, usb.core.USBError):
            mend()
            drive.settle()
            return True
    return False
