"""The PC of a case: switched on, watched until its outcome is proven, and brought back."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from harness.cable.bends import Bend, Bender
from harness.cable.conversation import transcript
from harness.cable.relay import Relay
from harness.deadline import Deadline
from harness.errors import (
    TOO_BUSY,
    CableError,
    FirmwareFault,
    NotJudged,
    Refused,
    RigFault,
    ServerFault,
)
from harness.gadget.vm import CTRL_ALT_DEL as GADGET_CTRL_ALT_DEL
from harness.gadget.vm import DIGIT_1, ESCAPE, STARVED_PART
from harness.host.pc import MENU_MS, Pc
from harness.host.stick import Stick
from harness.observation import (
    Acted,
    Awaited,
    BiosLine,
    BusReset,
    ControlRequest,
    DeviceDied,
    GadgetState,
    HostEvent,
    Observation,
    Recorder,
    TimeUp,
    write_recording,
)
from harness.outcome import rules
from harness.outcome.cost import Spent, spent
from harness.outcome.future import trimmed
from harness.outcome.kinds import NEXT_DEVICE, Booted, Hung, NoBootDevice, NoDrive, Outcome
from harness.outcome.moments import Deed, Disturbance, Mark, Moment, post_marks
from harness.outcome.wire import asked, keyboard_driven, lost_request, slow_answer
from harness.owner import disk, printable
from harness.rig.boot import MENU_OFFERED, MENU_OPEN, Boot, has_said
from harness.rig.case import Case
from harness.rig.deeds import do, do_with_stick
from harness.rig.gadget import PLUG_SECONDS, Gadget
from harness.rig.watch import Disturbing, Following, Freezing, Screening
from images.payload import write_boot_disk

CASE_SECONDS = 45.0
"""How long a host may take, in seconds in which it could run. SeaBIOS itself needs 0.2 to 6 s;
each wait of its own is 5 s."""

PATIENCE = 6
"""So many times as long may it take by the clock of a machine that has other things to do."""

KEY_SECONDS = 1.0
"""How long a host may take to show that it heeds a key, a PC's own or the reset of all keys."""

STILL_SECONDS = 1.2
"""How long a host must stand still before a key; menus count down in seconds."""

KEYS = ("ret", "spc", "esc", "y", "1", "f1")
"""What is offered to a host that may be waiting for a key: no one knows which."""

REBOOT_SECONDS = 15.0
"""How long a host without the gadget may take to its next device; it takes half of one."""

QUIET_SECONDS = 0.1
"""With nothing else to see for so long, the processor is looked at."""

REHEARSAL = "rehearsal-{}"
"""Folder of the evidence of a boot that does not count."""

USB_CAPTURE = "usb.pcapng"
"""The file of the evidence that holds what crossed the cable."""

SAYING_SECONDS = 0.2
"""How often at most what the host is doing is told to whoever watches."""

CTRL_ALT_DEL = ("ctrl", "alt", "delete")

MENU = ((MENU_OFFERED, ESCAPE), (MENU_OPEN, DIGIT_1))
"""Which key of the gadget's keyboard is pressed when the BIOS has said what."""


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """A boot that does not count: how it ended, and what was seen until then.

    `starved` are the seconds of it in which this machine had no core for the PC's processor.
    """

    outcome: Outcome
    stream: tuple[Observation, ...]
    starved: float

    @property
    def marks(self) -> list[Mark]:
        """The marks of its POST."""
        return post_marks(self.stream)

    @property
    def spent(self) -> Spent:
        """Where its time went."""
        return spent(self.stream, self.starved)


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What is in a PC, and how its BIOS is set up.

    `next_device` is the image of the disk that comes second, by default one that boots, `cdrom`
    that of a CD in a drive of the PC's own, which comes first. `menu` has the BIOS offer its boot
    menu, which the gadget's keyboard is to open, and to choose the first entry of. `megabytes` of
    memory, as many as a Pc has by default unless it is given.
    """

    next_device: Path | None = None
    cdrom: Path | None = None
    menu: bool = False
    megabytes: int | None = None


USUAL = Fitted()


class Host:
    """The PC of a case."""

    def __init__(self, case: Case, gadget: Gadget, stick: Stick | None = None) -> None:
        """A PC without power, for the port of which there is this gadget.

        Or, where that was never started, QEMU's own drive.
        """
        self._stick = stick
        self._case = case
        self._gadget = gadget
        self._pc: Pc | None = None
        self._outcome: Outcome | None = None
        self._judged = 0
        self._starved = 0.0
        self._rehearsals = 0
        self._undone: NotJudged | ServerFault | None = None
        """Why nothing was done to it that should have been: it goes on, and then that is said."""

    def boot(
        self,
        controller: str,
        *,
        bios: str | None = None,
        fitted: Fitted = USUAL,
        must_ask_drive: bool = True,
        press: Moment | None = None,
        seconds: float | None = None,
        shows: str = "",
        disturb: Disturbance | None = None,
        recover: bool = True,
        bends: Sequence[Bend] = (),
        seed: int = 0,
    ) -> Boot:
        """Boot the PC with its USB port on `controller`, and watch until the outcome is proven.

        `bios` is a name or file as of --bios; None is what was chosen for the run. `fitted` is
        what else is in the PC.
        With `must_ask_drive` a boot counts only if the host asked the drive that the gate
        files promise. `press` is a moment at which Ctrl-Alt-Del is pressed on the PC's own
        keyboard. `seconds` of the host's own time may go by without a proof, CASE_SECONDS unless
        it is given. A medium that says nothing to us has booted when the screen `shows` these
        words.
        `disturb` is what is done to the host, its cable or its gadget on its way.
        With `recover` it is tried what brings a host back that hangs.
        `bends` are what the cable does to single packets; what they make up comes from `seed`.
        Raises NotJudged when the case cannot say anything, ServerFault when the device's server
        failed at `disturb`, RigFault when the rig failed.
        """
        case = self._case
        case.record.controller = controller
        case.record.bios = bios = bios or case.equipment.bios
        if self._gadget.collision is not None:
            raise self._gadget.collision
        starving = _Starving(self._gadget)
        outcome = rules.decide(case.recorder.seen())
        self._judged = len(case.recorder.seen())
        if self._gadget.relay is not None:
            self._gadget.relay.bend(Bender(bends, seed) if bends else None)
        if bends:
            case.keep("bends.txt", "".join(f"{line}\n" for line in (f"seed {seed}", *bends)))
        if not isinstance(outcome, NoDrive):
            outcome = self._run(
                controller,
                bios,
                fitted,
                press,
                seconds or CASE_SECONDS,
                shows,
                disturb,
                recover,
            )
        case.record.outcome = self._outcome = outcome
        if isinstance(outcome, Hung) and disturb is not None:
            with contextlib.suppress(FirmwareFault):
                _ = self._gadget.luns  # what is in the drive may be another by now
        boot = Boot(
            outcome,
            case.recorder.seen(),
            self._judged,
            self._gadget.state.luns,
            case.record.data_partition if self._gadget.running else None,
            self._gadget.script,
            self._starved,
        )
        case.keep("explain.txt", boot.explain() + "\n")
        away = disturb is not None and disturb.deed is not Deed.RESET
        meddled = away or bool(bends)
        if self._gadget.plugged and not isinstance(outcome, NoDrive) and not meddled:
            stream = boot.stream[: boot.judged]
            _check_seen(stream, outcome, must_ask_drive, starving.part)
        undone, self._undone = self._undone, None
        if undone is not None:
            raise undone
        return boot

    def warm_boot(self) -> Boot:
        """Reset the PC that `boot` has booted, and watch it as that does.

        What the stream holds of the boot before does not count. Raises as `boot` does.
        """
        case, pc, relay = self._case, self._pc, self._gadget.relay
        assert pc is not None
        assert relay is not None
        before = case.recorder.seen()
        known = tuple(o for o in before if isinstance(o, GadgetState | DeviceDied))
        starving, starved = _Starving(self._gadget), pc.starved
        case.say("host: warm reset")
        self._gadget.hurry(True)
        if self._gadget.plugged:
            self._wait_plugged(relay)
        started = time.monotonic()
        pc.boot_again()
        try:
            outcome, judged = self._watch(pc, relay, CASE_SECONDS, None, since=len(before))
        finally:
            self._gadget.hurry(False)
        case.record.boot_seconds = round(time.monotonic() - started, 3)
        case.record.outcome = outcome
        boot = Boot(
            outcome,
            known + case.recorder.seen()[len(before) :],
            judged - len(before) + len(known),
            self._gadget.state.luns,
            case.record.data_partition,
            self._gadget.script,
            pc.starved - starved,
        )
        case.keep("explain.txt", boot.explain() + "\n")
        if self._gadget.plugged:
            _check_seen(boot.stream[: boot.judged], outcome, True, starving.part)
        return boot

    def _run(
        self,
        controller: str,
        bios: str,
        fitted: Fitted,
        press: Moment | None,
        seconds: float,
        shows: str,
        disturb: Disturbance | None,
        recover: bool,
    ) -> Outcome:
        case = self._case
        late = disturb is not None and not disturb.deed.begins_plugged
        try:
            self._pc = self._switched_on(
                *(controller, bios, fitted, USB_CAPTURE),
                late=late,
                exact=disturb is not None,
                patient=disturb is not None and disturb.deed.quick,
            )
        except BaseException:
            self._write_stream()  # all that there is of such a boot: without a PC, no `collect`
            raise
        relay = self._gadget.relay
        disturbing = Disturbing(disturb, self._pc, case.recorder) if disturb else None
        case.recorder.on_seen = disturbing.see if disturbing else None
        started = time.monotonic()
        self._pc.release()
        try:
            outcome, self._judged = self._watch(
                self._pc,
                relay,
                seconds,
                press,
                disturbing,
                menu=MENU if fitted.menu else (),
                shows=shows,
            )
            case.record.boot_seconds = round(time.monotonic() - started, 3)
            self._starved = self._pc.starved
            if press is not None:
                self._await_reset()
            if isinstance(outcome, Hung) and recover:
                outcome = self._recover(self._pc, relay, outcome)
            return outcome
        finally:
            case.recorder.on_seen = None
            self._gadget.hurry(False)  # what follows is for the device's shell

    def _switched_on(
        self,
        controller: str,
        bios: str,
        fitted: Fitted,
        capture: str,
        *,
        late: bool,
        exact: bool = False,
        patient: bool = False,
    ) -> Pc:
        """A PC with the gadget in its port, stopped at its first instruction.

        `capture` is the name of the file for what crosses the cable, "" for none; `late` leaves
        the cable cut; `exact` and `patient` are as for a Pc.
        """
        case = self._case
        relay = self._gadget.relay
        next_device = fitted.next_device
        if next_device is None:
            next_device = case.scratch / "next-device"
            write_boot_disk(next_device, NEXT_DEVICE)
        case.say("host: power on")
        cable = relay is not None
        pc = Pc(
            *(controller, bios, next_device, case.recorder, case.scratch),
            cable=cable,
            stick=None if late else self._stick,
            cdrom=fitted.cdrom,
            menu=fitted.menu,
            megabytes=fitted.megabytes,
            exact=exact,
            patient=patient,
        )
        try:
            self._gadget.hurry(True)
            if relay is not None and pc.cable is not None:
                if late:
                    relay.cut()
                relay.attach(pc.cable, case.recorder, case.evidence / capture if capture else None)
                case.record.evidence.extend([capture] if capture else [])
                if self._gadget.plugged and not late:
                    self._wait_plugged(relay)
        except BaseException:
            pc.close()
            raise
        return pc

    def rehearse(
        self,
        controller: str,
        *,
        bios: str | None = None,
        plugged: bool = True,
        seconds: float = CASE_SECONDS,
    ) -> Rehearsal:
        """Boot a PC that does not count, as `boot` does.

        The gadget finds its device reset afterwards. `plugged`: whether it is in the PC's port;
        `seconds` are as for `boot`. Raises as that does.
        """
        case = self._case
        if self._gadget.collision is not None:
            raise self._gadget.collision
        kept = case.recorder
        case.recorder = Recorder(o for o in kept.seen() if isinstance(o, GadgetState | DeviceDied))
        relay = self._gadget.relay
        case.record.controller = controller
        case.record.bios = bios = bios or case.equipment.bios
        starving = _Starving(self._gadget)
        try:
            outcome = rules.decide(case.recorder.seen())
            if isinstance(outcome, NoDrive):
                return Rehearsal(outcome, case.recorder.seen(), 0.0)
            pc = self._switched_on(controller, bios, USUAL, "", late=not plugged)
            with contextlib.closing(pc):
                pc.release()
                outcome, judged = self._watch(pc, relay, seconds, None)
                whole = Rehearsal(outcome, case.recorder.seen()[:judged], pc.starved)
            if self._gadget.plugged and plugged:
                _check_seen(whole.stream, outcome, True, starving.part)
            return whole
        finally:
            self._rehearsals += 1
            self._write_stream(REHEARSAL.format(self._rehearsals))
            case.recorder = kept
            if relay is not None:
                relay.detach()
                relay.mend()

    def _wait_plugged(self, relay: Relay) -> None:
        crossed = Deadline.after(PLUG_SECONDS, "the gadget's device_connect to cross the cable")
        try:
            relay.wait_plugged(crossed)
        except CableError as problem:
            self._device_died(problem)

    def _watch(
        self,
        pc: Pc,
        relay: Relay | None,
        seconds: float,
        press: Moment | None,
        disturbing: Disturbing | None = None,
        *,
        menu: Sequence[tuple[str, bytes]] = (),
        shows: str = "",
        since: int = 0,
    ) -> tuple[Outcome, int]:
        """Until the outcome is proven, or the host's time is up.

        `menu` and `shows` are as for `boot`.

        Returns it, and how many observations it took. What was seen before `since` does not
        count, but for what the BIOS handed over.
        """
        case = self._case
        stream = case.recorder.seen()
        following = Following(stream[:since])
        patience = Deadline.after(seconds * PATIENCE, "the host to use up its time")
        told = 0.0
        ran = pc.ran
        freezing, screening = Freezing(), Screening(shows)
        if shows:
            case.recorder.add(lambda at: Awaited(at, shows))
        while True:
            # Before what came of it is judged: the next moment may have come already.
            if press is not None and press.has_come(stream):
                press = None
                self._act(Acted.PS2, partial(pc.press, *CTRL_ALT_DEL))
            if menu and has_said(stream, menu[0][0]):
                (offer, report), menu = menu[0], menu[1:]
                self._act(Acted.GADGET_KEY, partial(self._press_on_gadget, report))
                if offer == MENU_OFFERED and (waited := self._since(offer)) > MENU_MS / 1000:
                    raise RigFault(f"a key was pressed {waited:.0f} s after {offer!r}: {TOO_BUSY}")
            if disturbing is not None and disturbing.reached.is_set():
                if disturbing.problem is not None:
                    raise disturbing.problem
                self._disturb(pc, disturbing.deed)
                disturbing, stream = None, case.recorder.seen()
            if screening.due(stream):
                pc.show()
                stream = case.recorder.seen()
            if (outcome := following.judge(stream)) is not None:
                return outcome, following.judged
            if relay is not None and relay.problem is not None:
                self._device_died(relay.problem)
                stream = case.recorder.seen()
                continue
            if pc.ran - ran > seconds:
                self._time_is_up(pc, following)
                stream = case.recorder.seen()
                continue
            patience.check()
            if time.monotonic() - told > SAYING_SECONDS:
                told = time.monotonic()
                case.say(_doing(stream))
            stream = case.recorder.wait(following.judged, QUIET_SECONDS)
            quiet = len(stream) == following.judged
            # As long as an answer is owed: on a busy machine a fiftieth is too little for it.
            self._gadget.hurry(not quiet or (relay is not None and relay.awaiting))
            if quiet:
                pc.look(trimmed if freezing.due(stream, case.recorder.now()) else None)
                stream = case.recorder.seen()
                if rest := rules.may_rest(stream):
                    # The BIOS polls its clock, which the other cases' gadgets pay for.
                    with pc.resting():
                        stream = case.recorder.wait(len(stream), rest)

    def _disturb(self, pc: Pc, deed: Deed) -> None:
        """Do it to a host that is stopped, and let that go on.

        Raises RigFault; a device that dies of it is an observation, a server that does not do it
        is remembered.
        """
        self._case.say(f"host: {deed.value}")
        if self._stick is not None:
            do_with_stick(deed, pc, self._stick)
            return
        try:
            do(deed, pc, self._gadget, self._wait_plugged)
            self._gadget.hurry(True)
        except Refused as refusal:
            self._undone = NotJudged(f"{refusal}: nothing befell the host on its way")
        except ServerFault as fault:
            self._undone = fault
        except FirmwareFault as fault:
            how = str(fault)
            self._case.recorder.add(lambda at: DeviceDied(at, how))

    def _act(self, what: str, do: Callable[[], None]) -> None:
        """Do something to the host; the stream says that it was done."""
        self._case.recorder.add(lambda at: Acted(at, what))
        do()

    def _since(self, words: str) -> float:
        """Seconds since the BIOS said these words."""
        seen = self._case.recorder.seen()
        return self._case.recorder.now() - next(
            o.at for o in seen if isinstance(o, BiosLine) and words in o.text
        )

    def _done(self) -> None:
        self._case.recorder.add(lambda at: Acted(at, Acted.DONE))

    def _time_is_up(self, pc: Pc, following: Following) -> None:
        """Offer keys to a host that came to no end, and say that its time is up."""
        case = self._case
        pc.show()
        self._wait_progress(STILL_SECONDS)
        for key in KEYS:
            pc.show()
            self._act(Acted.KEY, partial(pc.press, key))
            self._wait_progress(KEY_SECONDS)
            pc.show()
            self._done()
            if following.judge(case.recorder.seen()) is not None:
                return
        case.recorder.add(lambda at: TimeUp(at, round(pc.ran, 1)))

    def _wait_progress(self, seconds: float) -> None:
        """Wait until the host gets on, `seconds` at most."""
        before = len(self._case.recorder.seen())
        self._case.recorder.wait_until(lambda s: any(o.progress for o in s[before:]), seconds)

    def _await_reset(self, since: int = 0) -> bool:
        """Whether the host resets itself within the time that a keyboard may take."""
        return (
            self._case.recorder.wait_until(
                lambda s: any(isinstance(o, HostEvent) and o.name == "RESET" for o in s[since:]),
                KEY_SECONDS,
            )
            is not None
        )

    def _recover(self, pc: Pc, relay: Relay | None, hung: Hung) -> Outcome:
        """Try what brings the hung host back, each for real.

        First what a KVM's user has, the gadget's keyboard. A host that this resets hangs again,
        with the drive still in, before the next is tried.
        """
        case = self._case
        case.say("host: hung; what brings it back?")
        if relay is not None and keyboard_driven(case.recorder.seen()):
            since = len(case.recorder.seen())
            self._act(Acted.GADGET_KEYBOARD, partial(self._press_on_gadget, GADGET_CTRL_ALT_DEL))
            reset = self._await_reset(since)
            self._done()
            if reset:
                self._watch(pc, relay, CASE_SECONDS, None, since=len(case.recorder.seen()))
        since = len(case.recorder.seen())
        self._act(Acted.PS2, partial(pc.press, *CTRL_ALT_DEL))
        self._await_reset(since)
        self._done()
        if relay is not None and self._gadget.plugged:
            self._act(Acted.UNPLUGGED, relay.detach)
            since = len(case.recorder.seen())
            pc.reset()
            case.recorder.wait_until(lambda s: any(map(_says_booted, s[since:])), REBOOT_SECONDS)
            self._done()
        return dataclasses.replace(hung, recovery=rules.recovered(case.recorder.seen()))

    def _press_on_gadget(self, report: bytes) -> None:
        """Keys on the gadget's keyboard; a device that dies of it has not pressed them."""
        self._gadget.hurry(True)
        with contextlib.suppress(FirmwareFault):
            self._gadget.press(report)

    def _device_died(self, problem: RigFault) -> None:
        """Observe that the device died, if that is why the cable broke; else raise `problem`."""
        try:
            self._gadget.check_alive()
        except FirmwareFault as fault:
            how = str(fault)
            self._case.recorder.add(lambda at: DeviceDied(at, how))
        else:
            raise problem

    def collect(self) -> None:
        """Write what is to be seen on the host into the evidence folder."""
        case = self._case
        if self._pc is None:
            return
        case.record.evidence.extend(self._pc.collect(case.evidence))
        self._pc.close()
        if self._gadget.relay is not None:
            self._gadget.relay.detach()
            if self._gadget.relay.gadget_version:
                case.record.versions["usbredirect"] = printable(self._gadget.relay.gadget_version)
        stream = case.recorder.seen()
        for line in (o.text for o in stream if isinstance(o, BiosLine)):
            if "(version" in line:
                case.record.versions["bios"] = printable(line)
                break
        self._write_stream()

    def _write_stream(self, folder: str = "") -> None:
        """Write the stream of observations, and what is easier to read of it."""
        case = self._case
        stream = case.recorder.seen()
        with disk("the evidence"):
            (case.evidence / folder).mkdir(exist_ok=True)
        place = Path(folder)
        lines = [f"{o.at:9.3f}  {o.text}\n" for o in stream if isinstance(o, BiosLine)]
        case.keep(str(place / "bios.log"), "".join(lines))
        case.keep(str(place / "wire.txt"), transcript(stream))
        recording = str(place / "observations.jsonl")
        with disk("the evidence"):
            write_recording(case.evidence / recording, stream)
        case.record.evidence.append(recording)

    def close(self) -> None:
        """Switch it off."""
        if self._pc is not None:
            self._pc.close()


class _Starving:
    """How much of the time since then the device had no core of this machine."""

    def __init__(self, gadget: Gadget) -> None:
        self._gadget = gadget
        self._since, self._starved = time.monotonic(), gadget.starved

    @property
    def part(self) -> float:
        went_by = time.monotonic() - self._since
        return (self._gadget.starved - self._starved) / max(went_by, 0.001)


def _check_seen(
    stream: Sequence[Observation], outcome: Outcome, must_ask_drive: bool, starved: float
) -> None:
    """A boot says something of the gadget only if the host has asked it, and of its drive likewise.

    `starved` is the part of the time in which the device could run, and this machine had no core
    for it. Raises RigFault when a plugged gadget was never seen, or when the host gave up on a
    request that its own controller did not send; FirmwareFault when an answer came so late, or not
    at all, that the host had given up on the drive, RigFault if the device was starved: it answers
    within milliseconds, and in time for SeaBIOS, which waits for five seconds, if it gets its
    turns; NotJudged when the host looked at the gadget and did not ask its drive.
    """
    if not any(isinstance(o, ControlRequest | BusReset) for o in stream):
        raise RigFault("the gadget was plugged in and the host never looked at it")
    if not isinstance(outcome, Booted | NoBootDevice):
        return
    if lost := lost_request(stream):
        raise RigFault(
            f"the host gave up on a request that never came to the cable ({lost}; "
            f"{outcome}): {TOO_BUSY}"
        )
    states = [o for o in stream if isinstance(o, GadgetState)]
    promised = bool(states) and states[-1].drive_promised
    if not (must_ask_drive and promised):
        return
    if late := slow_answer(stream):
        late = f"{late}, and the host gave up on it ({outcome})"
        if starved > STARVED_PART:
            raise RigFault(f"{late}, but {starved:.0%} of the time it had no core: {TOO_BUSY}")
        raise FirmwareFault(late)
    if asked(stream).asked_the_drive or not isinstance(outcome, Booted):
        return
    raise NotJudged(
        f"the host saw the gadget, never asked its drive and {outcome}: its BIOS drives "
        "one interface of a device, and took another"
    )


def _says_booted(seen: Observation) -> bool:
    return isinstance(seen, BiosLine) and seen.text.startswith(rules.MARK)


def _doing(stream: Sequence[Observation]) -> str:
    """What the host is doing just now, for whoever watches."""
    for seen in reversed(stream):
        if isinstance(seen, BiosLine) and seen.text.strip():
            return f"host: {printable(seen.text.strip(), 70)}"
    return "host: power on"
