"""Observations -> outcome. Each rule looks at the stream and answers, or leaves it to others.

Nothing here is decided by how long something takes alone: a hang is called only on what the
processor was seen to execute. What no rule can prove is `inconclusive` once the case's time
is up. Moments come from the observations; there is no clock here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.observation import (
    BiosLine,
    ControlReply,
    CpuSample,
    DeviceDied,
    GadgetState,
    HostEvent,
    Observation,
)
from harness.outcome.kinds import (
    Booted,
    Hung,
    Inconclusive,
    NoBootDevice,
    NoDrive,
    Outcome,
    ResetLoop,
)
from harness.outcome.moments import hands_over

MARK = "bootgate: booted from "
"""What our boot payloads say on the debug port, before the medium's label."""

GAVE_UP = "No bootable device."
"""SeaBIOS, src/boot.c, do_boot and boot_fail: the list of boot devices is at its end."""

TABLES_END = 0x500
"""End of the interrupt vector table and the BIOS data area: never code."""

SYSTEM_ROM, SYSTEM_ROM_END = 0xE0000, 0x100000
"""Where SeaBIOS keeps what it runs after POST (src/config.h, BUILD_BIOS_ADDR and below)."""

SAMPLES = 8
"""How many samples of the processor in a row a hang takes."""

SECONDS = 0.7
"""How long those samples must span, in seconds since the last progress."""

IRET = b"\xcf"

REFUSED_SECONDS = (0.15, 4.5)
"""A host that goes on after a stall does so within milliseconds; SeaBIOS's patience ends 5 s
after the request (src/hw/usb.h, USB_TIME_CONTROL)."""

RESETS = 3
"""So many resets by the guest itself, with no boot among them, are a loop."""

Stream = Sequence[Observation]


def decide(stream: Stream) -> Outcome | None:
    """The outcome that `stream` proves, or None while it proves none yet."""
    for rule in _RULES:
        outcome = rule(stream)
        if outcome is not None:
            return outcome
    return None


def give_up(stream: Stream, seconds: float) -> Outcome:
    """The outcome when the case's `seconds` are up: what is proven, else inconclusive."""
    return decide(stream) or Inconclusive(
        why=f"after {seconds:g} s nothing was proven; last seen: {_last_words(stream)}"
    )


def may_rest(stream: Stream) -> float:
    """For how many seconds the BIOS does nothing but wait out a request that was refused.

    On all controllers but EHCI SeaBIOS does not see that a request stalls: it polls its clock
    for 5 s, and waits for nothing else (src/hw/usb-uhci.c, wait_pipe; usb-ohci.c, wait_ed;
    usb-xhci.c, xhci_event_wait). 0 until some time after the refusal, and from some time before
    the end on: a host that is stopped while it waits for its controller gives up on that.
    """
    if not stream or not isinstance(stream[-1], CpuSample) or not _in_bios(stream[-1]):
        return 0.0
    if any(isinstance(s, BiosLine) and hands_over(s.text) for s in stream):
        return 0.0
    last = next((s for s in reversed(stream) if s.progress), None)
    if not isinstance(last, ControlReply) or last.status != "stall":
        return 0.0
    first, end = REFUSED_SECONDS
    waited = stream[-1].at - last.at
    return max(0.0, end - waited) if waited >= first else 0.0


def _no_drive(stream: Stream) -> Outcome | None:
    """The firmware gave the host nothing to look at, although its gate files ask for it."""
    for seen in stream:
        if isinstance(seen, DeviceDied):
            return NoDrive(why=seen.how)
        if isinstance(seen, GadgetState) and seen.drive_promised:
            if not seen.luns:
                return NoDrive(why="the gadget's configuration has no mass storage function")
            if not seen.udc:
                return NoDrive(why="the gadget is not bound to a USB controller (UDC is empty)")
    return None


def _booted(stream: Stream) -> Outcome | None:
    for seen in stream:
        if isinstance(seen, BiosLine) and seen.text.startswith(MARK):
            medium = seen.text.removeprefix(MARK).strip()
            return Booted(medium, round(seen.at, 3), why=f"its boot sector said so: {seen.text}")
    return None


def _reset_loop(stream: Stream) -> Outcome | None:
    resets = [s for s in stream if isinstance(s, HostEvent) and s.name == "RESET" and s.guest]
    if len(resets) < RESETS:
        return None
    return ResetLoop(why=f"the host reset itself {len(resets)} times; {_last_words(stream)}")


def _no_boot_device(stream: Stream) -> Outcome | None:
    """The BIOS said so, and afterwards it waits with interrupts on."""
    said = next(
        (i for i, s in enumerate(stream) if isinstance(s, BiosLine) and GAVE_UP in s.text), None
    )
    if said is None:
        return None
    later = [s for s in stream[said:] if isinstance(s, CpuSample)]
    if any(s.halted and s.interrupts_on for s in later):
        return NoBootDevice(why=f"the BIOS said {GAVE_UP!r} and waits with interrupts on")
    return None


def _halted(stream: Stream) -> Outcome | None:
    """HLT with interrupts off: only NMI or reset go on from there (Intel SDM 2, HLT)."""
    quiet = _quiet_samples(stream)
    if len(quiet) >= SAMPLES and all(s.halted and not s.interrupts_on for s in quiet):
        where = _words(quiet[-1])
        return Hung("halted", why=f"HLT with interrupts off at {where}; {_last_words(stream)}")
    return None


def _runaway(stream: Stream) -> Outcome | None:
    """Executing what was never code.

    Some samples are in the interrupt table, the BIOS data area or zeros, or about to return
    there; all others are in the BIOS, which such code bounces off (each interrupt that it
    stumbles into, and those of the timer). A BIOS that is busy is in its own code in every
    sample, and a boot loader in its own: neither gets here.
    """
    quiet = _quiet_samples(stream)
    if len(quiet) < SAMPLES or not any(
        isinstance(s, BiosLine) and hands_over(s.text) for s in stream
    ):
        return None
    never_code = [s for s in quiet if _never_code(s)]
    bounced = [s for s in quiet if not _never_code(s) and _in_bios(s)]
    if len(never_code) < 2 or len(never_code) + len(bounced) < len(quiet):
        return None
    places = sorted({_words(s) for s in never_code})
    return Hung(
        "runaway",
        why=f"the processor executes what was never code, at {', '.join(places[:4])}; "
        f"{_last_words(stream)}",
    )


def _spinning(stream: Stream) -> Outcome | None:
    """A jump to itself with interrupts off."""
    quiet = _quiet_samples(stream)
    if len(quiet) >= SAMPLES and all(
        s.code[:2] == b"\xeb\xfe" and not s.interrupts_on for s in quiet
    ):
        where = _words(quiet[-1])
        return Hung("spinning", why=f"a jump to itself at {where}; {_last_words(stream)}")
    return None


def _place(sample: CpuSample) -> tuple[int, int]:
    """CS and IP of what is executed.

    SeaBIOS answers what it does not know, an invalid opcode too, with a bare IRET
    (src/romlayout.S, entry_iret_official): what counts is where that leads.
    """
    if sample.real_mode and sample.code[:1] == IRET and _in_bios(sample) and len(sample.stack) >= 4:
        return sample.stack[2] | sample.stack[3] << 8, sample.stack[0] | sample.stack[1] << 8
    return sample.cs, sample.ip


def _never_code(sample: CpuSample) -> bool:
    if not sample.real_mode:
        return False
    cs, ip = _place(sample)
    return cs * 16 + ip < TABLES_END or (len(sample.code) >= 16 and not any(sample.code))


def _words(sample: CpuSample) -> str:
    cs, ip = _place(sample)
    return f"{cs:04X}:{ip:04X}"


def _in_bios(sample: CpuSample) -> bool:
    return SYSTEM_ROM <= sample.linear < SYSTEM_ROM_END


def _quiet_samples(stream: Stream) -> list[CpuSample]:
    """The samples since the last progress, if they span `SECONDS`; else none."""
    since = -1
    for i, seen in enumerate(stream):
        if seen.progress:
            since = i
    samples = [s for s in stream[since + 1 :] if isinstance(s, CpuSample)]
    if not samples or samples[-1].at - samples[0].at < SECONDS:
        return []
    return samples


def _last_words(stream: Stream) -> str:
    said = [s.text for s in stream if isinstance(s, BiosLine) and s.text.strip()]
    return f"the BIOS's last words: {said[-1]!r}" if said else "the BIOS said nothing"


_RULES: tuple[Callable[[Stream], Outcome | None], ...] = (
    _booted,
    _no_drive,
    _reset_loop,
    _no_boot_device,
    _halted,
    _runaway,
    _spinning,
)
