"""Nested deadlines: an inner wait can never outlive the outer one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from harness.errors import DeadlineExpired


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment by which something must have happened, and what that something is.

    `expires` is a value of `time.monotonic()` in seconds; `what` completes the sentence
    "... did not happen in time: WHAT".
    """

    expires: float
    what: str
    seconds: float

    @classmethod
    def after(cls, seconds: float, what: str) -> Deadline:
        """A deadline `seconds` from now."""
        return cls(time.monotonic() + seconds, what, seconds)

    def inner(self, seconds: float, what: str) -> Deadline:
        """A deadline `seconds` from now, or this one's moment if that comes first."""
        return Deadline(min(self.expires, time.monotonic() + seconds), what, seconds)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.expires - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the moment has passed."""
        return time.monotonic() >= self.expires

    def check(self) -> None:
        """Raise `DeadlineExpired` when the moment has passed."""
        if self.expired:
            raise self.failure()

    def failure(self) -> DeadlineExpired:
        """The error to raise when the wait was in vain."""
        return DeadlineExpired(f"waited {self.seconds:g} s in vain for {self.what}")
