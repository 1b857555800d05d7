"""What a drive costs a host in time, and the waits that the host brings on itself. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from harness.cable.conversation import recipient
from harness.cable.scsi import BULK_ONLY_RESET, GET_MAX_LUN, MASS_STORAGE
from harness.observation import (
    BusReset,
    ControlReply,
    ControlRequest,
    InterruptPolling,
    Observation,
    Plugged,
    ScsiCommand,
    ScsiReply,
    Unplugged,
)

LIMIT_SECONDS = 1.0
"""What a drive may cost (EMPTY-7)."""

WAIT_SECONDS = 0.5
"""A host that does nothing on the cable for longer, with its answer in hand, waits."""

SLOW_SECONDS = 0.1
"""An answer that takes longer is named; a kernel's drive takes milliseconds."""

_TO_INTERFACE = 0x21
"""Of bmRequestType: a class request to an interface, whichever its direction (USB 2.0, table
9-2)."""

_WIRE = (
    *(BusReset, ControlReply, ControlRequest, InterruptPolling),
    *(Plugged, ScsiCommand, ScsiReply, Unplugged),
)


@dataclass(frozen=True)
class Took:
    """How many seconds something on the cable took."""

    what: str
    seconds: float

    def __str__(self) -> str:
        """Such as "GET_MAX_LUN to interface 0, class 03h: 5.0 s"."""
        return f"{self.what}: {self.seconds:.1f} s"


@dataclass(frozen=True)
class Spent:
    """Where the time of one boot went, in seconds.

    `whole` is all of it, in the host's own time; `waits` are those that the host brought on
    itself; `crossing` is what this rig's cable took to carry the transfers, which a real one does
    in microseconds; `slow` are the answers that took long, which count.
    """

    whole: float
    waits: tuple[Took, ...]
    crossing: float
    slow: tuple[Took, ...]

    @property
    def counted(self) -> float:
        """What is left when the host's own waits and the cable are taken away."""
        return self.whole - sum(w.seconds for w in self.waits) - self.crossing


def spent(stream: Sequence[Observation], starved: float = 0.0) -> Spent:
    """Where the time of this boot went, from power-on to the last that was seen.

    In `starved` seconds of it the host's processor had no core to run on.
    """
    wire = [seen for seen in stream if isinstance(seen, _WIRE)]
    answers = _answers(wire)
    # Requests that are answered at once, whatever the drive does: by the kernel, in an interrupt
    # (drivers/usb/gadget/composite.c, composite_setup). So that is what the cable itself takes.
    prompt = [reply.at - asked.at for asked, reply in answers if isinstance(asked, ControlRequest)]
    pace = median(prompt) if prompt else 0.0
    end = stream[-1].at if stream else 0.0
    waits = tuple(_waits(wire, answers, end))
    # A wait ends by the clock, whether there is a core for it or not.
    asleep = sum(w.seconds for w in waits) / end if end > 0 else 0.0
    return Spent(
        whole=end - starved * (1 - asleep),
        waits=waits,
        crossing=sum(min(r.at - asked.at, pace * _transfers(r)) for asked, r in answers),
        slow=tuple(
            Took(_words(asked), reply.at - asked.at)
            for asked, reply in answers
            if reply.at - asked.at > SLOW_SECONDS
        ),
    )


def cost(with_drive: Sequence[Spent], without: Sequence[Spent]) -> float:
    """Seconds that the drive costs: medians of several boots each."""
    return median(s.counted for s in with_drive) - median(s.counted for s in without)


def told(with_drive: Sequence[Spent], without: Sequence[Spent]) -> str:
    """The cost in a sentence, and the waits that the host brought on itself."""
    words = (
        f"the drive costs the host {cost(with_drive, without):.2f} s of its boot "
        f"(limit {LIMIT_SECONDS:.1f} s)"
    )
    waits = ", ".join(map(str, _middle(with_drive).waits))
    return f"{words}; the host itself waits after {waits}" if waits else words


def account(with_drive: Sequence[Spent], without: Sequence[Spent]) -> str:
    """A line for the cost, and others for what was measured and what was taken off."""
    lines = [told(with_drive, without)]
    for name, boots in (("with", with_drive), ("without", without)):
        middle = _middle(boots)
        times = ", ".join(f"{s.whole:.2f}" for s in boots)
        lines.append(
            f"{name} the drive it boots in {times} s; of the middle one {middle.crossing:.2f} s "
            f"are this rig's cable, and the host's own waits "
            f"{', '.join(map(str, middle.waits)) or 'none'}"
        )
        if middle.slow:
            lines.append(f"slow answers {name} it: {', '.join(map(str, middle.slow))}")
    return "\n".join(lines)


def _middle(boots: Sequence[Spent]) -> Spent:
    return sorted(boots, key=lambda s: s.counted)[len(boots) // 2]


Answer = tuple[ControlRequest, ControlReply] | tuple[ScsiCommand, ScsiReply]


def _answers(wire: Sequence[Observation]) -> list[Answer]:
    """Each question with its answer, in the order of the answers."""
    control: dict[int, ControlRequest] = {}
    scsi: dict[int, ScsiCommand] = {}
    found: list[Answer] = []
    for seen in wire:
        match seen:
            case ControlRequest():
                control[seen.packet] = seen
            case ScsiCommand():
                scsi[seen.tag] = seen
            case ControlReply() if seen.packet in control:
                found.append((control.pop(seen.packet), seen))
            case ScsiReply() if seen.tag in scsi:
                found.append((scsi.pop(seen.tag), seen))
    return found


def _waits(wire: Sequence[Observation], answers: Sequence[Answer], end: float) -> list[Took]:
    """Where a host has the answer that it must get to a request that no drive is to blame for.

    That is a drive's own request, sent to an interface that is none: BOT 3.1 and 3.2 have it sent
    to the drive's, and another refuses it, by a stall (USB 2.0, 9.2.7). Whatever else a host
    waits for counts as the drive's, unless it waits for it without a drive, too.
    """
    misled = {id(reply): asked for asked, reply in answers if _astray(asked)}
    following = [*(seen.at for seen in wire[1:]), end]
    return [
        Took(_words(misled[id(seen)]), after - seen.at)
        for seen, after in zip(wire, following, strict=False)
        if id(seen) in misled and after - seen.at > WAIT_SECONDS
    ]


def _astray(asked: ControlRequest | ScsiCommand) -> bool:
    return (
        isinstance(asked, ControlRequest)
        and asked.request_type & 0x7F == _TO_INTERFACE
        and asked.request in (GET_MAX_LUN, BULK_ONLY_RESET)
        and asked.interface_class != MASS_STORAGE[0]
    )


def _words(asked: ControlRequest | ScsiCommand) -> str:
    if isinstance(asked, ScsiCommand) or asked.request_type & 0x1F != 1:
        return asked.name
    of = f", class {asked.interface_class:02X}h" if asked.interface_class >= 0 else ""
    return f"{asked.name} to {recipient(asked)}{of}"


def _transfers(reply: ControlReply | ScsiReply) -> int:
    """How many transfers it took: a command's are wrapper, data if any, and status (BOT 5)."""
    return 1 if isinstance(reply, ControlReply) else 2 + bool(reply.length)
