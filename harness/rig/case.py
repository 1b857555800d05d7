"""What the parts of a rig share while one case runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.equipment import Equipment
from harness.observation import Recorder
from harness.outcome.kinds import Outcome
from harness.owner import disk, escaped_lines

BOOT_SCRIPT, MOUNT, UNMOUNT, DELETE, TOGGLE = "boot script", "mount", "unmount", "delete", "toggle"
"""The parts of a firmware that can be the last to make something of the drive."""


@dataclass
class Record:
    """What a case leaves behind, filled in as it goes on."""

    controller: str | None = None
    bios: str | None = None
    data_partition: str | None = None
    outcome: Outcome | None = None
    code_path: str = ""
    """Which part of the firmware made the drive what it was."""
    boot_seconds: float = 0.0
    evidence: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What the user is told of a case whatever its judgement, a sentence each."""


class Case:
    """Equipment, folders and stream of one case.

    `scratch` and `evidence` are folders of its own, `say` is told what goes on.
    """

    def __init__(
        self, equipment: Equipment, scratch: Path, evidence: Path, say: Callable[[str], None]
    ) -> None:
        """Nothing was seen yet."""
        self.equipment = equipment
        self.scratch = scratch
        self.evidence = evidence
        self.say = say
        self.record = Record()
        self.recorder = Recorder()

    def keep(self, name: str, text: str) -> None:
        """Write a piece of evidence, control characters escaped. Raises DiskFull."""
        shown = escaped_lines(text)
        with disk("the evidence"):
            (self.evidence / name).write_text(shown, encoding="utf-8", errors="backslashreplace")
        if name not in self.record.evidence:
            self.record.evidence.append(name)
