"""One boot of the host, as a requirement test sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.gadget.vm import Lun
from harness.observation import Acted, BiosLine, HostEvent, Observation
from harness.outcome.cost import Spent, spent
from harness.outcome.explain import explain
from harness.outcome.kinds import Hung, Outcome
from harness.outcome.wire import Asked, asked
from harness.owner import printable

MENU_OFFERED, MENU_OPEN = "Press ESC for boot menu", "Select boot device"
"""SeaBIOS, src/boot.c, interactive_bootmenu: printed on the screen, and in its log."""


@dataclass(frozen=True)
class Boot:
    """One boot of the host: what happened, and what was seen.

    `stream` is everything, `judged` how much of it decided the outcome: what the rig tried
    afterwards comes later. `luns` is what was in the drive when the host was started, or when a
    boot that was disturbed hung; `data_partition` is None without a gadget. For `starved` seconds
    of it this machine had no core for the PC's processor.
    """

    outcome: Outcome
    stream: tuple[Observation, ...]
    judged: int
    luns: tuple[Lun, ...]
    data_partition: str | None
    script: str
    starved: float = 0.0

    @property
    def keyboard_alive(self) -> bool:
        """Whether the PC's own keyboard was heeded when it was pressed, or when it hung."""
        if isinstance(self.outcome, Hung) and self.outcome.recovery is not None:
            return self.outcome.recovery.ps2 == "resets"
        pressed = next((i for i, o in enumerate(self.stream) if isinstance(o, Acted)), None)
        if pressed is None:
            return False
        return any(isinstance(o, HostEvent) and o.name == "RESET" for o in self.stream[pressed:])

    @property
    def menu_opened(self) -> bool:
        """Whether the BIOS showed its boot menu."""
        return has_said(self.stream, MENU_OPEN)

    @property
    def spent(self) -> Spent:
        """Where the time went until the outcome was decided."""
        return spent(self.stream[: self.judged], self.starved)

    @property
    def asked(self) -> Asked:
        """What the host asked of the drive, and what it heard."""
        return asked(self.stream[: self.judged])

    def explain(self) -> str:
        """What the PC did and why, in a few lines for a bug report (`harness.outcome.explain`).

        All of it is printable: it holds what the firmware and its media have written.
        """
        device = ""
        if self.data_partition is not None:
            device = f"data partition {self.data_partition}; {self.script}"
        text = explain(self.outcome, self.stream[: self.judged], self._drive(), device)
        return "\n".join(printable(line, 600) for line in text.splitlines())

    def _drive(self) -> str:
        """Such as " with /dev/mmcblk0p3 in the drive"."""
        if not self.luns:
            return ""
        held = [printable(lun.backing[0], 100) for lun in self.luns if lun.backing]
        return f" with {' and '.join(held)} in the drive" if held else " with an empty drive"


def has_said(stream: Sequence[Observation], words: str) -> bool:
    """Whether a line of the BIOS's log has these words in it."""
    return any(isinstance(seen, BiosLine) and words in seen.text for seen in stream)
