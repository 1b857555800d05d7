"""What it takes to watch a host: when to look, what the rules make of it, where to stop it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from harness.errors import QemuError, RigFault
from harness.host.pc import Pc
from harness.observation import Disturbed, Handover, Observation, Recorder
from harness.outcome import rules
from harness.outcome.kinds import Outcome
from harness.outcome.moments import Disturbance, Marks

FREEZE_SECONDS = (0.15, 4.0)
"""When a quiet processor's state is frozen first, and the longest time between two of them."""


SCREEN_SECONDS = 0.3
"""How often the screen is looked at. A first screen may be gone after a second."""


class Freezing:
    """When to freeze the processor's state: soon after the last progress, then ever more seldom.

    Two states in a row are a proof; later ones are for a host that stops getting on unseen.
    """

    def __init__(self) -> None:
        """Nothing was frozen yet."""
        self._mark = -1
        self._next = 0.0
        self._taken = 0

    def due(self, stream: Sequence[Observation], now: float) -> bool:
        """Whether now, with the host quiet. `now` is a moment as the stream has them."""
        first, longest = FREEZE_SECONDS
        mark = next((i for i in range(len(stream) - 1, -1, -1) if stream[i].progress), -1)
        if mark != self._mark:
            self._mark, self._next, self._taken = mark, stream[mark].at + first, 0
        if now < self._next:
            return False
        self._next = now + min(longest, first * 2 ** max(0, self._taken - 1))
        self._taken += 1
        return True


class Screening:
    """When to look at the screen for the words of a medium: once its code runs, now and then."""

    def __init__(self, words: str) -> None:
        """`words` are what is looked for; "" for nothing."""
        self._words = words
        self._begun = False
        self._next = 0.0

    def due(self, stream: Sequence[Observation]) -> bool:
        """Whether now."""
        if not self._words:
            return False
        self._begun = self._begun or any(isinstance(o, Handover) for o in stream)
        now = time.monotonic()
        if not self._begun or now < self._next:
            return False
        self._next = now + SCREEN_SECONDS
        return True


class Following:
    """The rules, as they follow one boot; `judged` is how many observations they have taken."""

    def __init__(self, before: Sequence[Observation]) -> None:
        """Of what was seen `before`, only what the BIOS handed over counts."""
        self._judge = rules.Judge()
        self.judged = len(before)
        for handover in (o for o in before if isinstance(o, Handover)):
            self._judge.see(handover)

    def judge(self, stream: Sequence[Observation]) -> Outcome | None:
        """Take what is new, up to what proves an outcome."""
        while self._judge.outcome is None and self.judged < len(stream):
            self._judge.see(stream[self.judged])
            self.judged += 1
        return self._judge.outcome


class Disturbing:
    """Waits for a mark, and stops the host right there."""

    def __init__(self, disturb: Disturbance, pc: Pc, recorder: Recorder) -> None:
        """Have `see` called with each observation of the recorder's."""
        self.deed = disturb.deed
        self.reached = threading.Event()
        """Whether the mark has come, and the host is stopped, or there is a problem."""
        self.problem: RigFault | None = None
        """Why it could not be stopped."""
        self._wanted = disturb.mark
        self._pc = pc
        self._recorder = recorder
        self._marks = Marks()
        self._lock = threading.Lock()

    def see(self, seen: Observation) -> None:
        """Take an observation; called by whoever made it, BIOS log or cable.

        Who reads the log has to go on: a QEMU that cannot get rid of a byte of it stands still,
        and does not stop its machine either. So it is braked here, and stopped from elsewhere.
        """
        with self._lock:
            mark = self._marks.see(seen)
        if mark != self._wanted:
            return
        self._pc.brake()
        threading.Thread(target=self._stop, name="disturbing", daemon=True).start()

    def _stop(self) -> None:
        try:
            self._pc.hold()
        except (QemuError, OSError):
            return  # a QEMU that has gone: whoever watches it will say so
        except RigFault as problem:
            self.problem = problem
        else:
            self._recorder.add(lambda at: Disturbed(at, str(self._wanted), self.deed.value))
        self.reached.set()
