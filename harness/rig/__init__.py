"""Gadget, cable and host put together; runs one case.

What a requirement test sees: `rig.gadget.start(...)` gives the device a life,
`rig.host.boot(...)` gives the PC one, and the `Boot` that comes back says what happened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from harness.equipment import Equipment
from harness.errors import NotJudged
from harness.firmware import Firmware
from harness.host.stick import Stick
from harness.observation import Recorder
from harness.outcome.kinds import Outcome
from harness.outcome.moments import Deed, Disturbance
from harness.rig.boot import Boot
from harness.rig.case import Case, Record
from harness.rig.comparison import away, ends_with, same_with_stick, silent_since
from harness.rig.gadget import Gadget
from harness.rig.host import Fitted, Host, Rehearsal

__all__ = ["Boot", "Fitted", "Record", "Rig"]


class Rig:
    """Gadget, cable and host of one case. `close` it: that collects the evidence too."""

    def __init__(
        self,
        equipment: Equipment,
        scratch: Path,
        evidence: Path,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`scratch` and `evidence` are folders of this case's own; `say` is told what goes on."""
        self.case = Case(equipment, scratch, evidence, say)
        self.gadget = Gadget(self.case)
        self.host = Host(self.case, self.gadget)
        self._closed = False

    @property
    def recorder(self) -> Recorder:
        """The stream of what is seen."""
        return self.case.recorder

    @property
    def record(self) -> Record:
        """What the case leaves behind."""
        return self.case.record

    def note(self, text: str) -> None:
        """Tell the user of it, whatever comes of the case."""
        self.case.record.notes.append(text)

    def keep(self, name: str, text: str) -> None:
        """Write a piece of evidence. Raises DiskFull."""
        self.case.keep(name, text + "\n")

    def check_host(
        self,
        controller: str,
        disturbance: Disturbance,
        whole: Rehearsal,
        boot: Boot,
        image: Path | None,
    ) -> None:
        """Raise NotJudged when a disturbed host ends like that with QEMU's own drive, too.

        `whole` is the boot that nothing disturbed, `boot` the other; `image` is what is in the
        gadget's drive, or gets there by being mounted. Raises NotJudged also when that cannot be
        tried, and when a host that was reset never came to its BIOS again.
        """
        if disturbance.deed is Deed.RESET and silent_since(boot.stream[: boot.judged]):
            raise NotJudged(
                f"{boot.outcome}, and since the reset its BIOS has said nothing and asked the "
                "gadget nothing: the host's own doing"
            )
        stick = Stick(image, away(boot.stream))
        if disturbance.deed.by_server:
            before, then = (None, image) if disturbance.deed.mounts else (image, None)
            stick = Stick(before, away(boot.stream), then)
        mark = same_with_stick(
            self.case, controller, disturbance, whole.stream, stick, boot.outcome
        )
        if mark is not None:
            raise NotJudged(
                f"{boot.outcome}, and so it does with QEMU's own drive when, after {mark}, "
                f"{disturbance.deed.value}: the host's own doing"
            )

    def ends_with_own_drive(
        self, controller: str, image: Path, *, cdrom: bool, seconds: float
    ) -> Outcome:
        """How a host ends that has QEMU's own drive instead of the gadget, with `image` in it.

        `seconds` as for `Host.boot`. Raises RigFault when the rig failed.
        """
        return ends_with(self.case, controller, Stick(image, cdrom=cdrom), seconds)

    @property
    def stock(self) -> Firmware:
        """The shipped firmware that has the defect."""
        return self.case.equipment.stock

    def close(self) -> None:
        """Collect the evidence, then switch everything off. May be called twice."""
        if self._closed:
            return
        self._closed = True
        with contextlib.ExitStack() as stack:
            stack.callback(self.gadget.close)
            stack.callback(self.host.close)
            self.host.collect()
            self.gadget.collect()
