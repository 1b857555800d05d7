"""Observations -> outcome, one observation after the other.

A `Judge` is shown a case's stream in its order and names the outcome as soon as it is proven;
what comes later does not change it. Nothing is decided by how long something takes: a hang is
called only on a processor that cannot leave what it does (`harness.outcome.future`), the rest
on what was said or done. What no rule can prove is `inconclusive` once the observation comes
that the case's time is up. Moments come from the observations; there is no clock here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from harness.observation import (
    Acted,
    Awaited,
    BiosLine,
    ControlReply,
    CpuSample,
    DeviceDied,
    Frozen,
    GadgetState,
    Handover,
    HostEvent,
    Observation,
    Screen,
    TimeUp,
)
from harness.outcome.future import BIOS, BIOS_END, CHANGES_ITSELF, CLOSED, OVER_THE_EDGE, future
from harness.outcome.kinds import (
    MEDIUM,
    Booted,
    Hung,
    Inconclusive,
    NoBootDevice,
    NoDrive,
    Outcome,
    Recovery,
    ResetLoop,
    Waiting,
)
from harness.outcome.moments import hands_over
from harness.outcome.never_code import TABLES_END, code_at, fresh, never_code, runs_wild
from harness.outcome.outside import could_end
from harness.outcome.place import last_seen, where
from harness.outcome.wire import sector_of

MARK = "bootgate: booted from "
"""What our boot payloads say on the debug port, before the medium's label."""

GAVE_UP = "No bootable device."
"""SeaBIOS, src/boot.c, do_boot and boot_fail: the list of boot devices is at its end."""

RESUME = "In resume (status="
"""The first words after a reset (SeaBIOS, src/resume.c, handle_resume). In the midst of a line they
show that the reset cut it: what the payload began to say is not known."""

FAILED = "Boot failed"
"""SeaBIOS, src/boot.c, boot_disk: it goes on to the next device."""

HARD_REBOOT = ("In resume (status=0)", "In 32bit resume", "Attempting a hard reboot")
"""SeaBIOS, src/resume.c: a processor that was reset comes by here and resets the machine."""

REFUSED_SECONDS = (0.15, 4.5)
"""A host that goes on after a stall does so within milliseconds; SeaBIOS's patience ends 5 s
after the request (src/hw/usb.h, USB_TIME_CONTROL)."""

RESETS = 12
"""So many resets by the guest in a row, after the same words of the BIOS each time, are a loop."""

RESETS_AT_THE_END = 3
"""So many when the case's time is up, after whatever words."""

Stream = Sequence[Observation]


def decide(stream: Iterable[Observation]) -> Outcome | None:
    """The outcome that `stream` proves, or None while it proves none yet."""
    judge = Judge()
    for seen in stream:
        judge.see(seen)
        if judge.outcome is not None:
            return judge.outcome
    return None


class Judge:
    """Follows one case. `outcome` is None until it is proven, and never changes after that."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self.outcome: Outcome | None = None
        self._seen: list[Observation] = []
        self._handover: Handover | None = None
        self._gave_up = False
        self._waits: CpuSample | None = None
        """Since the BIOS gave up: the first look at which it waited for an interrupt."""
        self._suspect: Frozen | None = None
        """Since the last progress: the state before, unless the processor is known to have got out
        of it. Nobody has looked ahead from it yet: two in a row are looked into, the later one
        first, so that half of the states of a host that gets on need no look."""
        self._cs: int | None = None
        self._ip, self._flags, self._fell_back = 0, 0, False
        """Of a processor that goes nowhere, or executes zeros at each look: in which segment that
        is; where it was last, and EFLAGS then; and whether it was as far or further on at an
        earlier look than at a later."""
        self._detours: list[str] = []
        self._rounds: list[tuple[str, ...]] = []
        self._said: list[str] = []
        """The BIOS's words since the last reset."""
        self._before_key: list[Observation] = []
        """While a key is tried: all that was seen until then, which it is measured against."""
        self._awaited = ""
        """What the screen shows once a medium that says nothing to us has booted."""
        self._booted: Booted | None = None
        """While a key is tried: what booted meanwhile, of itself unless it took the key."""

    def see(self, seen: Observation) -> Outcome | None:
        """Take the next observation; returns `outcome`."""
        if self.outcome is None:
            self._seen.append(seen)
            if seen.progress:
                self._suspect = self._cs = None
            self.outcome = self._judged(seen)
        return self.outcome

    def _judged(self, seen: Observation) -> Outcome | None:
        match seen:
            case DeviceDied(how=how):
                return NoDrive(why=how)
            case GadgetState():
                return _no_drive(seen)
            case BiosLine():
                return self._line(seen)
            case Handover():
                self._handover = self._handover or seen
                self._gave_up, self._waits = False, None
            case HostEvent(name="RESET", guest=True):
                return self._reset()
            case HostEvent(name="RESET"):  # ours: no round of the host's own
                self._handover, self._said = None, []
                self._gave_up, self._waits = False, None
            case CpuSample():
                self._follow(seen)
                return self._no_boot_device(seen)
            case Frozen():
                return self._hung(seen)
            case Acted():
                return self._acted(seen)
            case Awaited(words=words):
                self._awaited = words
            case Screen():
                return self._shown(seen)
            case TimeUp():
                return self._time_up(seen)
        return None

    # --- what was said --------------------------------------------------------------------

    def _line(self, line: BiosLine) -> Outcome | None:
        text = line.text.strip()
        if text.startswith(MARK.strip()) and RESUME not in text:
            medium = text.removeprefix(MARK.strip()).strip()
            booted = Booted(
                medium,
                round(line.at, 3),
                tuple(self._detours),
                why=f"its boot sector said so: {text}",
            )
            if not self._before_key:
                return booted
            self._booted = self._booted or booted
        self._said.append(text)
        if text.startswith(FAILED):
            self._detours.append(text)
        if hands_over(text):
            self._gave_up, self._waits = False, None
        elif GAVE_UP in text:
            self._gave_up = True
        return None

    def _shown(self, screen: Screen) -> Outcome | None:
        """The medium's own first screen, if it is the medium that was started."""
        if not self._awaited or self._awaited not in screen.text or self._handover is None:
            return None
        lba = sector_of(self._seen, self._handover.sector)
        if lba is None:
            return None
        booted = Booted(
            MEDIUM,
            round(screen.at, 3),
            tuple(self._detours),
            why=f"started from its block {lba}, it showed {self._awaited!r}",
        )
        if not self._before_key:
            return booted
        self._booted = self._booted or booted
        return None

    def _no_boot_device(self, sample: CpuSample) -> Outcome | None:
        """The BIOS said so, and afterwards it waits with interrupts on, and they come."""
        waits = sample.halted and sample.interrupts_on and BIOS <= sample.linear < BIOS_END
        if not (self._gave_up and waits):
            return None
        first = self._waits = self._waits or sample
        if first.ticks == sample.ticks:
            return None
        return NoBootDevice(why=f"the BIOS said {GAVE_UP!r} and waits with interrupts on")

    # --- what the processor does ----------------------------------------------------------

    def _hung(self, frozen: Frozen) -> Outcome | None:
        if frozen.halted and not frozen.interrupts_on:
            if frozen.others:
                return None  # an NMI could end it
            return self._hung_as("halted", frozen, "HLT with interrupts off")
        # Seen twice, because the look ahead is a model of the processor and not the processor.
        before, self._suspect = self._suspect, frozen
        self._be_at(frozen["CS"], frozen["EIP"], frozen["EFLAGS"])
        if before is None:
            return None
        if not self._goes_nowhere(frozen):
            self._suspect = self._cs = None  # wherever it was before, it got out of there
            return None
        ahead, wild = future(frozen), runs_wild(frozen, self._handover)
        if not self._goes_nowhere(before) or not self._same(before, frozen, wild=wild):
            self._fell_back = False
            return None
        if ahead.end in (OVER_THE_EDGE, CHANGES_ITSELF) and not self._fell_back:
            return None  # nobody knows yet where that leads
        if (
            wild
            or ahead.undefined
            or any(never_code(block, frozen, self._handover) for block in ahead.blocks)
        ):
            return self._hung_as("runaway", frozen, "the processor executes what was never code")
        if ahead.halts:
            what = "HLT with interrupts on, and nothing that wakes it has an effect"
            return self._hung_as("idle", frozen, what)
        what = f"a loop of {ahead.instructions} instructions that nothing can end"
        return self._hung_as("spinning", frozen, what)

    def _follow(self, sample: CpuSample) -> None:
        if self._suspect is not None and sample.cs != self._suspect["CS"]:
            return  # it is in an interrupt handler, from which it will come back
        if sample.real_mode and sample.linear < TABLES_END:
            return  # nobody has code among the vectors: it ran wild, or is about to
        if fresh(sample.code):
            self._be_at(sample.cs, sample.ip, sample.flags)
        elif self._suspect is None:
            self._cs = None
        elif fresh(code_at(self._suspect)):
            self._suspect = self._cs = None  # it got out of there

    def _be_at(self, cs: int, ip: int, flags: int) -> None:
        # At the same place with the same flags it may not have run at all.
        back = ip < self._ip or (ip == self._ip and flags != self._flags)
        self._fell_back = cs == self._cs and (self._fell_back or back)
        self._cs, self._ip, self._flags = cs, ip, flags

    def _goes_nowhere(self, frozen: Frozen) -> bool:
        """Whether the processor runs wild, or is in a loop that nothing can end."""
        if runs_wild(frozen, self._handover):
            return True
        return future(frozen).end == CLOSED and not could_end(frozen, self._handover)

    def _same(self, before: Frozen, now: Frozen, *, wild: bool) -> bool:
        """Whether the processor is in the same loop as before; runs wild as before."""
        if wild:
            return runs_wild(before, self._handover)
        return future(before).blocks == future(now).blocks

    def _hung_as(self, how: str, frozen: Frozen, what: str) -> Hung:
        place = where(frozen, self._handover, self._seen)
        last = last_seen(self._seen)
        said = f"the BIOS's last words: {last.bios!r}" if last.bios else "the BIOS said nothing"
        return Hung(how, where=place, last=last, why=f"{what}, at {place}; {said}")

    # --- what comes round -----------------------------------------------------------------

    def _reset(self) -> Outcome | None:
        self._gave_up, self._waits = False, None
        # SeaBIOS answers a reset of the processor with one of the machine: that is no round.
        said = [text for text in self._said if text and not text.endswith(HARD_REBOOT)]
        if not said and (self._said or any(self._rounds)):
            return None
        self._said = []
        self._rounds.append(tuple(said))
        for count in range(RESETS, 2 * RESETS + 1):
            if self._comes_round(self._rounds[-count:]):
                return self._loop(count)
        return None

    def _comes_round(self, rounds: Sequence[tuple[str, ...]]) -> bool:
        """Whether all that was said in those rounds was said in RESETS of them at least.

        In whatever order: SeaBIOS initializes its devices side by side (src/post.c,
        wait_threads). And in whatever round: of a reset and of a line of the BIOS's, which come
        by different ways, the one that was first may be seen last.
        """
        if len(rounds) < RESETS or set(rounds[0]) - set().union(*rounds[1:]):
            return False
        in_rounds = Counter(text for words in rounds for text in set(words))
        if any(times < RESETS for times in in_rounds.values()):
            return False
        half = len(rounds) // 2
        early, late = (
            Counter(text for words in part for text in words)
            for part in (rounds[:half], rounds[half:])
        )
        # What is said ever more often, or more seldom, counts.
        return all(
            early[text] <= 2 * late[text] and late[text] <= 2 * early[text] for text in in_rounds
        )

    def _loop(self, count: int) -> ResetLoop:
        """What came round, the last `count` times."""
        words = tuple(dict.fromkeys(text for said in self._rounds[-count:] for text in said))
        last = next((said[-1] for said in reversed(self._rounds) if said), "")
        after = f", the last after {last!r}" if last else ""
        return ResetLoop(words, why=f"the host reset itself {len(self._rounds)} times{after}")

    # --- what was tried -------------------------------------------------------------------

    def _acted(self, acted: Acted) -> Outcome | None:
        if acted.what == Acted.KEY:
            self._before_key = list(self._seen)
        elif acted.what == Acted.DONE and self._before_key:
            before, self._before_key = self._before_key, []
            if _took_the_key(before, self._seen[len(before) :]):
                return Waiting(why="it stood still, took a key and went on")
        return None if self._before_key else self._booted

    def _time_up(self, up: TimeUp) -> Outcome:
        if self._booted is not None:
            return self._booted
        if len(self._rounds) >= RESETS_AT_THE_END:
            return self._loop(1)
        last = last_seen(self._seen).bios
        words = f"the BIOS's last words: {last!r}" if last else "the BIOS said nothing"
        return Inconclusive(why=f"after {up.seconds:g} s nothing was proven; {words}")


def _no_drive(state: GadgetState) -> Outcome | None:
    """The firmware gave the host nothing to look at, although its gate files ask for it."""
    if not state.drive_promised:
        return None
    if not state.luns:
        return NoDrive(why="the gadget's configuration has no mass storage function")
    if not state.udc:
        return NoDrive(why="the gadget is not bound to a USB controller (UDC is empty)")
    return None


def _took_the_key(before: Stream, after: Stream) -> bool:
    """Whether a host that stood still went on when it got a key.

    It must have stood still for half of its time: what goes on every few seconds would do so
    after a key, too. The rig looks at the screen twice before it presses a key, and once
    afterwards. The same in all looks before: what changes while nobody presses a key would change
    after one, too.
    """
    looks = [i for i, s in enumerate(before) if isinstance(s, Screen)]
    if len(looks) < 2 or any(s.progress for s in before[looks[0] :]):
        return False
    last = max((s.at for s in before if s.progress), default=0.0)
    if before[looks[0]].at < 2 * last:
        return False
    stood = {(s.text, s.picture) for s in before if isinstance(s, Screen)}
    shown = [(s.text, s.picture) for s in after if isinstance(s, Screen)]
    if len(stood) > 1 or not shown:
        return False
    return any(s.progress for s in after) or shown[-1] not in stood


def recovered(stream: Stream) -> Recovery | None:
    """What brought the hung host back; None if that was not tried to its end."""
    tried: dict[str, Sequence[Observation]] = {}
    begun: tuple[str, int] | None = None
    for i, seen in enumerate(stream):
        if isinstance(seen, Acted):
            if begun is not None:
                tried[begun[0]] = stream[begun[1] : i]
            begun = None if seen.what == Acted.DONE else (seen.what, i)

    def reset_by(what: str) -> bool:
        return any(isinstance(s, HostEvent) and s.name == "RESET" and s.guest for s in tried[what])

    if Acted.PS2 not in tried:
        return None
    booted = None
    if Acted.UNPLUGGED in tried:
        booted = any(
            isinstance(s, BiosLine) and s.text.startswith(MARK) for s in tried[Acted.UNPLUGGED]
        )
    keyboard = Acted.GADGET_KEYBOARD
    return Recovery(
        ps2="resets" if reset_by(Acted.PS2) else "dead",
        gadget_keyboard="not_driven"
        if keyboard not in tried
        else ("resets" if reset_by(keyboard) else "dead"),
        boots_without_drive=booted,
    )


def may_rest(stream: Stream) -> float:
    """For how many seconds the BIOS does nothing but wait out a request that was refused.

    On all controllers but EHCI SeaBIOS does not see that a request stalls: it polls its clock
    for 5 s, and waits for nothing else (src/hw/usb-uhci.c, wait_pipe; usb-ohci.c, wait_ed;
    usb-xhci.c, xhci_event_wait). 0 until some time after the refusal, and from some time before
    the end on: a host that is stopped while it waits for its controller gives up on that.
    """
    if not stream or not isinstance(stream[-1], CpuSample):
        return 0.0
    if not BIOS <= stream[-1].linear < BIOS_END:
        return 0.0
    if any(isinstance(s, BiosLine) and hands_over(s.text) for s in stream):
        return 0.0
    last = next((s for s in reversed(stream) if s.progress), None)
    if not isinstance(last, ControlReply) or last.status != "stall":
        return 0.0
    first, end = REFUSED_SECONDS
    waited = stream[-1].at - last.at
    return max(0.0, end - waited) if waited >= first else 0.0
