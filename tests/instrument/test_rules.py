"""The rules: hand-made streams for each outcome, and what no stream may ever bring about."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from states import IF, LETTERS, LINES, frozen, handover

from harness.observation import (
    Acted,
    Awaited,
    BiosLine,
    BusReset,
    CableCut,
    CableMended,
    CableMuted,
    ControlReply,
    ControlRequest,
    CpuSample,
    DeviceDied,
    DiskIo,
    Frozen,
    GadgetState,
    Handover,
    HostEvent,
    InterruptPolling,
    Observation,
    Plugged,
    Screen,
    ScsiCommand,
    ScsiReply,
    TimeUp,
    Unplugged,
    sector_digest,
)
from harness.outcome.future import CHANGES_ITSELF, future
from harness.outcome.kinds import (
    KINDS,
    MEDIUM,
    NEXT_DEVICE,
    Booted,
    Hung,
    Inconclusive,
    Last,
    NoBootDevice,
    NoDrive,
    Outcome,
    Recovery,
    ResetLoop,
    Waiting,
)
from harness.outcome.moments import HANDOVER
from harness.outcome.rules import (
    GAVE_UP,
    MARK,
    RESETS,
    RESETS_AT_THE_END,
    Judge,
    decide,
    may_rest,
    recovered,
)
from harness.outcome.wire import (
    asked,
    keyboard_driven,
    lost_request,
    sector_of,
    slow_answer,
)
from images import payload

STARTED = BiosLine(0.0, "SeaBIOS (version 1.16.2)")
HANDED_OVER = BiosLine(1.0, HANDOVER + "0000:7c00")
BOOTED = BiosLine(9.0, MARK + "medium")
KNOWN = [STARTED, HANDED_OVER, handover(at=1.1)]
"""The beginning of a boot of which the BIOS's vectors are known."""
TIME_UP = TimeUp(45.0, 45.0)


def cpu(
    at: float,
    cs: int = 0xF000,
    ip: int = 0x1234,
    *,
    flags: int = IF,
    halted: bool = False,
    ticks: int = 0,
) -> CpuSample:
    """A sample in real mode; by default in the BIOS, at work with interrupts on."""
    code, stack = b"\x90" * 16, bytes(6)
    return CpuSample(at, cs, ip, cs * 16 + ip, flags, halted, True, code, stack, ticks)


def ends(*seen: Observation) -> Outcome | None:
    """The outcome of a boot that the BIOS has handed over, after what was seen then."""
    return decide([*KNOWN, *seen])


# --- what is proven -------------------------------------------------------------------------


def test_a_boot_sector_that_names_its_medium_has_booted() -> None:
    outcome = decide([STARTED, HANDED_OVER, BiosLine(1.2344, MARK + "next-device ")])
    assert outcome == Booted(NEXT_DEVICE)
    assert isinstance(outcome, Booted)
    assert outcome.seconds == 1.234
    assert "next-device" in outcome.why


def test_what_was_tried_before_it_booted_is_told() -> None:
    failed = BiosLine(1.1, "Boot failed: not a bootable disk")
    outcome = decide([STARTED, HANDED_OVER, failed, HANDED_OVER, BOOTED])
    assert isinstance(outcome, Booted)
    assert outcome.detours == ("Boot failed: not a bootable disk",)


AWAITED = Awaited(0.0, "GNU GRUB")
STARTS = handover(b"\xeb\x63".ljust(512, b"\0"))


def read_from_the_drive(sector: bytes) -> list[Observation]:
    cdb = bytes((0x28, 0, 0, 0, 0, 7, 0, 0, 1, 0))
    digest = (sector_digest(sector),)
    return [
        ScsiCommand(0.5, 1, 0, "READ(10)", cdb, 512, True),
        ScsiReply(0.6, 1, "READ(10)", "passed", 0, 512, sector[:64], digest),
    ]


def test_a_medium_that_says_nothing_to_us_has_booted_when_it_shows_its_words() -> None:
    read, shows = read_from_the_drive(STARTS.sector), Screen(3.0, "x GNU GRUB  version 2", "")
    booted = decide([AWAITED, *read, STARTS, Screen(2.5, "Loading", ""), shows])
    assert booted == Booted(MEDIUM)
    assert "from its block 7" in booted.why
    assert "'GNU GRUB'" in booted.why


def test_words_that_come_with_a_key_are_those_of_a_host_that_waited() -> None:
    stood = [Screen(at, "press any key", "") for at in (20.0, 21.0)]
    pressed = [Acted(22.0, Acted.KEY), Screen(23.0, "GNU GRUB", ""), Acted(24.0, Acted.DONE)]
    assert decide([AWAITED, *read_from_the_drive(STARTS.sector), STARTS, *stood, *pressed]) == (
        Waiting()
    )


@pytest.mark.parametrize("missing", ["awaited", "read", "handover"])
def test_words_on_the_screen_that_are_not_the_mediums(missing: str) -> None:
    """Nobody waits for them; another drive's code says them; the BIOS does."""
    parts: dict[str, list[Observation]] = {
        "awaited": [AWAITED],
        "read": read_from_the_drive(STARTS.sector),
        "handover": [STARTS],
    }
    seen = [one for name, part in parts.items() if name != missing for one in part]
    assert decide([*seen, Screen(3.0, "GNU GRUB", "")]) is None


def test_a_line_that_a_reset_cut_says_nothing_of_what_was_booted() -> None:
    cut = BiosLine(1.0, f"{MARK}next-In resume (status=0)")
    assert decide([STARTED, HANDED_OVER, cut]) is None
    assert decide([STARTED, HANDED_OVER, cut, BOOTED]) == Booted("medium")


def test_payloads_say_what_the_rules_look_for() -> None:
    assert payload.MARK == MARK


def test_the_mark_counts_at_the_beginning_of_a_line_only() -> None:
    assert decide([BiosLine(1.0, f"echo {MARK}next-device")]) is None


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (GadgetState(-1.0, "dummy_udc.0", ("hid.GS0",), (), True), "no mass storage function"),
        (GadgetState(-1.0, "", ("mass_storage.disk0",), ("disk0/lun.0",), True), "UDC is empty"),
        (DeviceDied(-1.0, "restarted"), "restarted"),
    ],
)
def test_firmware_that_gives_no_drive(state: Observation, words: str) -> None:
    outcome = decide([state])
    assert outcome == NoDrive()
    assert words in outcome.why


def test_a_drive_that_was_not_asked_for_is_not_missing() -> None:
    assert decide([GadgetState(-1.0, "", (), (), False)]) is None
    assert decide([GadgetState(-1.0, "udc", ("ms",), ("ms/lun.0",), True)]) is None


def test_no_boot_device_is_said_by_a_bios_that_then_waits_alive() -> None:
    said = BiosLine(2.0, GAVE_UP)
    alive = [cpu(2.2, halted=True, ticks=40), cpu(2.3, halted=True, ticks=42)]
    assert decide([*alive, said]) is None, "samples from before it gave up say nothing"
    assert decide([said, alive[0]]) is None, "do interrupts come?"
    assert decide([said, alive[0], alive[0]]) is None
    assert decide([said, *alive]) == NoBootDevice()
    assert decide([said, cpu(2.1), *alive]) == NoBootDevice()


@pytest.mark.parametrize(
    "sample",
    [
        lambda ticks: cpu(2.2, halted=False, ticks=ticks),
        lambda ticks: cpu(2.2, halted=True, flags=0, ticks=ticks),
        lambda ticks: cpu(2.2, 0, 0x7C00, halted=True, ticks=ticks),
    ],
)
def test_a_bios_that_does_not_wait_in_its_own_code_is_not_known_to_have_given_up(
    sample: Callable[[int], CpuSample],
) -> None:
    assert decide([BiosLine(2.0, GAVE_UP), sample(1), sample(2)]) is None


@pytest.mark.parametrize(
    "later", [HANDED_OVER, handover(at=3.0), HostEvent(3.0, "RESET", guest=True)]
)
def test_a_bios_that_begins_again_has_not_given_up(later: Observation) -> None:
    alive = [cpu(4.0, halted=True, ticks=40), cpu(4.1, halted=True, ticks=42)]
    said = BiosLine(2.0, GAVE_UP)
    assert decide([said, alive[0], later, *alive]) is None
    assert decide([said, later, said, *alive]) == NoBootDevice()


# --- what comes round -----------------------------------------------------------------------

RESET = HostEvent(1.0, "RESET", guest=True)


def test_resets_by_the_guest_itself_are_a_loop() -> None:
    rounds = [STARTED, HANDED_OVER, RESET]
    assert decide(rounds * (RESETS - 1)) is None
    outcome = decide(rounds * RESETS)
    assert outcome == ResetLoop((STARTED.text, HANDED_OVER.text))
    assert HANDED_OVER.text in outcome.why
    assert f"{RESETS} times" in outcome.why
    after_another = decide([STARTED, RESET, *rounds * RESETS])
    assert after_another is not None
    assert after_another == outcome


def test_resets_by_others_are_none() -> None:
    ours = HostEvent(1.0, "RESET", guest=False)
    end = HostEvent(1.0, "SHUTDOWN", guest=True)
    assert decide([STARTED, ours, end] * RESETS) is None


def test_a_host_that_says_something_else_in_between_gets_on() -> None:
    rounds = [STARTED, HANDED_OVER, RESET]
    other = [STARTED, BiosLine(1.0, "another"), RESET]
    stream = rounds * (RESETS - 1) + other
    assert decide(stream + rounds) is None
    assert decide(stream + rounds * RESETS) == ResetLoop((STARTED.text, HANDED_OVER.text))
    assert decide([*stream, BOOTED]) == Booted("medium")


def test_the_order_of_words_and_the_moment_of_a_reset_may_change() -> None:
    """Devices are initialized side by side; an event may be seen after lines that followed it."""
    disk, keyboard = BiosLine(0.2, "ata1-0: QEMU HARDDISK"), BiosLine(0.2, "PS2 keyboard")
    one = [STARTED, disk, keyboard, HANDED_OVER, RESET]
    other = [STARTED, keyboard, disk, HANDED_OVER]
    late = [*other, STARTED, RESET, disk, keyboard, HANDED_OVER, RESET]
    assert decide([*one, *other, RESET] * (RESETS // 2)) == ResetLoop(())
    assert decide([*one, *late] * (RESETS // 2 - 1)) is None
    outcome = decide([*one, *late] * (RESETS // 2))
    assert isinstance(outcome, ResetLoop)
    assert set(outcome.rounds) == {STARTED.text, disk.text, keyboard.text, HANDED_OVER.text}


@pytest.mark.parametrize(
    "counts",
    [
        lambda n: ["attempt failed"] * n,
        lambda n: ["retry"] * (RESETS if n == RESETS - 1 else 0),
        lambda n: ["copying"] * 2 if n < RESETS // 2 else ["verifying"] * 2,
    ],
)
def test_what_changes_from_reset_to_reset_is_progress(counts: Callable[[int], list[str]]) -> None:
    stream: list[Observation] = []
    for n in range(RESETS):
        stream += [STARTED, *(BiosLine(0.2, text) for text in counts(n)), RESET]
    assert decide(stream) is None
    assert decide([*stream, BOOTED]) == Booted("medium")


def test_a_host_that_counts_its_resets_gets_on() -> None:
    stream = [[STARTED, BiosLine(0.2, f"attempt {n}"), RESET] for n in range(3 * RESETS)]
    assert decide([seen for boot in stream for seen in boot]) is None


def test_fewer_resets_are_a_loop_when_the_time_is_up() -> None:
    rounds = [STARTED, RESET]
    assert decide([*rounds * (RESETS_AT_THE_END - 1), TIME_UP]) == Inconclusive()
    assert decide([*rounds * RESETS_AT_THE_END, TIME_UP]) == ResetLoop((STARTED.text,))
    assert decide([*rounds * RESETS_AT_THE_END, BOOTED]) == Booted("medium")


def test_a_host_that_resets_without_a_word() -> None:
    outcome = decide([RESET] * RESETS)
    assert outcome == ResetLoop(())
    assert f"{RESETS} times" in outcome.why


# --- what the processor does ----------------------------------------------------------------


def text(at: float, **changes: Any) -> Frozen:
    """In the midst of text that pushes AX for ever, which is executed."""
    memory = {0x7C00: LETTERS, 0x30000: bytes(0x8000)}
    return frozen(LETTERS[:64], memory, at=at, SS=0x3000, ESP=0x8000, **changes)


HANGS: dict[str, Callable[[float], Frozen]] = {
    "spinning": lambda at: frozen("jmp $", at=at),
    "idle": lambda at: frozen("a: hlt\njmp a", at=at, flags=IF, halted=True, EIP=0x7C01),
    "runaway": lambda at: frozen(bytes(8) + b"\xff" * 8, at=at, flags=IF, EBX=0x6000),
}


def test_halted_with_interrupts_off_is_seen_at_once() -> None:
    outcome = ends(frozen("cli\nhlt", at=1.5, halted=True, EIP=0x7C02))
    assert outcome == Hung("halted")
    assert isinstance(outcome, Hung)
    assert "0000:7C01" in outcome.why
    assert HANDED_OVER.text in outcome.why
    assert outcome.where is not None
    assert outcome.where.listing[0].endswith("hlt")
    assert outcome.last == Last(HANDED_OVER.text, "", "")


def test_halted_is_known_in_any_mode_and_without_a_handover() -> None:
    for mode in (Frozen.REAL, Frozen.FLAT_32, "long mode", "a mode with paging on"):
        assert decide([frozen("hlt", halted=True, mode=mode)]) == Hung("halted")
    assert decide([frozen("hlt", halted=True, others=True)]) is None, "an NMI could end it"
    assert decide([frozen("hlt", halted=True, flags=IF)]) is None
    assert decide([frozen("hlt")]) is None, "it is not there yet"


@pytest.mark.parametrize("how", HANGS)
def test_other_hangs_are_seen_twice(how: str) -> None:
    sample = HANGS[how]
    assert ends(sample(1.5)) is None
    outcome = ends(sample(1.5), sample(1.7))
    assert outcome == Hung(how)
    assert isinstance(outcome, Hung)
    assert outcome.where is not None
    assert str(outcome.where) in outcome.why


@pytest.mark.parametrize("how", HANGS)
def test_samples_between_two_states_are_nothing_new(how: str) -> None:
    sample = HANGS[how]
    assert ends(sample(1.5), cpu(1.6), Screen(1.6, "", ""), sample(1.7)) == Hung(how)


def zeros(at: float, place: int, flags: int = 0) -> Frozen:
    """In zeros up to the end of the segment."""
    return frozen(bytes(64), {0x7C00: bytes(0x8400)}, at=at, flags=flags, EIP=place, EBX=0x6000)


def at_work(at: float) -> Frozen:
    """In a program that asks a port."""
    return frozen("in al, 0x60\njmp 0x7c00", at=at)


def in_zeros(place: int, flags: int = 2) -> CpuSample:
    """A look at a processor that executes zeros."""
    return dataclasses.replace(cpu(1.6, 0, place, flags=flags), code=bytes(16))


def test_where_the_end_of_a_segment_leads_is_known_once_it_was_further_on() -> None:
    on, back = zeros(1.7, 0x8000), zeros(1.5, 0x7E00)
    assert ends(on, back) == Hung("runaway")
    assert ends(back, on) is None
    assert ends(back, on, zeros(1.9, 0x8800)) is None
    first, further, down, last = map(in_zeros, (0x7E00, 0xF000, 0xE000, 0xF100))
    in_the_bios, in_code = cpu(1.6), cpu(1.6, 0, 0x7C00)
    assert ends(back, first, in_the_bios, further, last, zeros(1.8, 0xF200)) is None
    assert ends(back, first, further, down, on) == Hung("runaway")
    reset = HostEvent(1.8, "RESET", True)
    assert ends(back, first, further, down, on, reset, back, on) == Hung("runaway")
    assert ends(back, first, further, in_code, on) is None, "it got out of the zeros"


def test_the_same_place_again_is_further_on_too_if_it_ran_meanwhile() -> None:
    assert ends(zeros(1.5, 0x7E00), zeros(1.8, 0x7E00)) is None, "it may not have run at all"
    assert ends(zeros(1.5, 0x7E00), zeros(1.8, 0x7E00, flags=0x44)) == Hung("runaway")


def test_a_look_among_the_vectors_says_nothing() -> None:
    among = dataclasses.replace(cpu(1.6, 0, 1), code=b"\x53" * 16)
    stream = [zeros(1.5, 0x7E00), in_zeros(0xF000), among, in_zeros(0xE000), zeros(1.8, 0xF000)]
    assert ends(*stream) == Hung("runaway")
    assert ends(*(seen for seen in stream if seen != in_zeros(0xE000))) is None


def test_further_on_before_it_ran_wild_says_nothing() -> None:
    on, off = cpu(1.4, 0, 0xF000), cpu(1.5, 0, 0x7E00)
    late = [zeros(1.5, 0x7E00), zeros(1.7, 0x8000)]
    assert ends(on, off, *late) is None
    on_zeros, off_zeros = in_zeros(0xF000), in_zeros(0x7E00)
    assert ends(on_zeros, off_zeros, *late) == Hung("runaway"), "it ran wild already"
    assert ends(on_zeros, off, *late) is None
    assert ends(on, off_zeros, *late) is None
    assert ends(on_zeros, BiosLine(1.4, ""), off_zeros, *late) is None
    wild = [zeros(1.5, 0x7E00), on, off, at_work(1.6), zeros(1.7, 0x7E00), zeros(1.8, 0x8000)]
    assert ends(*wild) is None


def test_zeros_that_change_themselves_are_wild_once_it_was_further_on() -> None:
    def changing(at: float, place: int) -> Frozen:
        """In zeros, each of which adds AL to the byte that comes next."""
        return frozen("", {0x7C00: bytes(0x8400)}, at=at, EIP=place, EAX=1, EBX=place + 0x100)

    assert future(changing(1.5, 0x8000)).end == CHANGES_ITSELF
    assert ends(changing(1.5, 0x9000), changing(1.7, 0x8000)) == Hung("runaway")
    assert ends(changing(1.5, 0x8000), changing(1.7, 0x9000)) is None


PROGRESS: tuple[Observation, ...] = (
    BiosLine(1.7, "xhci_wait_event"),
    BusReset(1.7),
    ControlRequest(1.7, 1, 0, 9, 1, 0, 0, "SET_CONFIGURATION"),
    ControlReply(1.7, 1, "success", 0),
    ScsiCommand(1.7, 1, 0, "INQUIRY", b"\x12", 36, True),
    ScsiReply(1.7, 1, "INQUIRY", "passed", 0, 36, b""),
    HostEvent(1.7, "RESET", True),
    DiskIo(1.7, 1, 0),
    handover(at=1.7),
)


@pytest.mark.parametrize("how", HANGS)
@pytest.mark.parametrize("progress", PROGRESS, ids=lambda progress: type(progress).__name__)
def test_progress_starts_the_proof_anew(how: str, progress: Observation) -> None:
    sample = HANGS[how]
    stream = [sample(1.5), progress, sample(1.8)]
    assert ends(*stream) is None
    assert ends(*stream, sample(2.0)) == Hung(how)


@pytest.mark.parametrize("how", HANGS)
def test_a_state_that_proves_nothing_starts_the_proof_anew(how: str) -> None:
    """Whatever it was, it got out of there."""
    sample, at_work = HANGS[how], frozen("in al, 0x60\njmp 0x7c00", at=1.6)
    assert ends(sample(1.5), at_work, sample(1.8)) is None
    assert ends(sample(1.5), at_work, sample(1.8), sample(2.0)) == Hung(how)


@pytest.mark.parametrize("how", HANGS)
@pytest.mark.parametrize("before", HANGS)
def test_both_states_are_of_the_same_hang(how: str, before: str) -> None:
    if how != before:
        assert ends(HANGS[before](1.5), HANGS[how](1.7)) is None
        assert ends(HANGS[before](1.5), HANGS[how](1.7), HANGS[how](1.9)) == Hung(how)


def test_two_different_loops_are_no_proof() -> None:
    one, other = frozen("jmp $", at=1.5), frozen("jmp $", at=1.6, origin=0x7D00)
    assert ends(one, other, one, other) is None


def test_another_place_in_the_same_loop_is_the_same() -> None:
    one = frozen("a: nop\njmp b\nb: mov al, 1\njmp a", at=1.5, EAX=1)
    other = dataclasses.replace(frozen("a: nop\njmp b\nb: mov al, 1\njmp a", EAX=1, EIP=0x7C03))
    assert ends(one, other) == Hung("spinning")


def test_a_loop_that_somebody_could_end_is_no_hang() -> None:
    def twice(program: str, *pieces: Mapping[int, bytes], **changes: Any) -> Outcome | None:
        return ends(
            frozen(program, *pieces, at=1.5, **changes), frozen(program, *pieces, at=1.7, **changes)
        )

    ticks = "a: mov eax, [0x46c]\ncmp eax, 99\njb a\nint 0x19"
    assert twice(ticks, flags=IF) is None
    assert twice(ticks) == Hung("spinning"), "with interrupts off the clock stands still"
    own = {0x20: b"\x00\x7e\x00\x00"}
    assert twice("a: hlt\njmp a", own, flags=IF) is None
    assert twice("a: hlt\njmp a", flags=IF) == Hung("idle")
    assert twice("in al, 0x60\njmp 0x7c00") is None
    assert twice("int 0x16\njmp 0x7c00", {0x58: b"\x2e\xe8\x00\xf0"}, flags=IF) is None


def test_who_waits_for_an_interrupt_and_gives_up_later_is_not_hung_yet() -> None:
    waits = "mov cx, 90\na: hlt\ncmp byte [0x6000], 0\njne b\nloop a\ncli\njmp $\nb: int 0x19"
    own = {0x24: b"\x00\x7e\x00\x00"}
    states = [frozen(waits, own, at=1.5 + n, flags=IF, ECX=90 - n) for n in range(9)]
    assert ends(*states) is None
    stuck = [frozen("cli\njmp $", own, at=9 + n, EIP=0x7C01) for n in range(2)]
    assert ends(*states, *stuck) == Hung("spinning")


def test_with_interrupts_on_a_hang_needs_a_handover() -> None:
    for how in ("idle", "runaway"):
        sample = HANGS[how]
        assert decide([STARTED, HANDED_OVER, sample(1.5), sample(1.7), sample(2.0)]) is None
    assert decide([STARTED, HANGS["spinning"](1.5), HANGS["spinning"](1.7)]) == Hung("spinning")


def test_a_closed_loop_in_what_was_never_code_is_a_runaway() -> None:
    table = {0x40: b"\x53\xff\x00\xf0"}
    vectors = frozen("", table, at=1.5, EIP=0x40, EBX=0x6000)
    undefined = [frozen(b"\xff\xff\xff\xff", at=1.5 + n, flags=IF) for n in range(2)]
    assert ends(*undefined) == Hung("runaway")
    text = b"Missing operating system. " * 2
    inside = [frozen(text + b"\xeb\xfe", at=1.5 + n, EIP=0x7C00 + len(text)) for n in range(2)]
    assert ends(*inside) == Hung("spinning"), "behind the text"
    assert ends(vectors) is None


def test_without_an_end_in_sight_it_runs_wild() -> None:
    assert ends(text(1.5, flags=IF)) is None
    assert ends(text(1.5, flags=IF), text(1.7, flags=IF, EIP=0x9000)) == Hung("runaway")
    assert ends(HANGS["spinning"](1.5), text(1.7, flags=IF)) is None, "wild once"
    assert ends(text(1.5, flags=IF), BusReset(1.6), text(1.7, flags=IF)) is None


def test_in_display_memory_it_runs_wild() -> None:
    there = [frozen("", at=1.5 + n, CS=0xB800, EIP=n) for n in range(2)]
    assert ends(*there) == Hung("runaway")


# --- what is not ----------------------------------------------------------------------------


@pytest.mark.parametrize("handed_over", [False, True])
@pytest.mark.parametrize(
    "state",
    [
        frozen("", CS=0xF000, EIP=0xD000, flags=IF),  # the BIOS polls a timer
        frozen("", CS=0xF000, EIP=0xD000),  # the same with interrupts off
        frozen("", mode=Frozen.FLAT_32, EIP=0xF1234),  # SeaBIOS's 32-bit code
        frozen("", CS=0xF000, EIP=0xD000, flags=IF, halted=True),  # yields until the next tick
        frozen("int 0x13\njmp 0x7c00", {0x4C: b"\xfe\xe3\x00\xf0"}),  # a loader that reads
        frozen("mov dx, 0x1f7\nin al, dx\njmp 0x7c00"),
        frozen("jmp $", mode="a mode with paging on"),
        frozen("jmp $", mode="virtual 8086 mode", flags=IF),
    ],
)
def test_a_host_at_work_is_not_hung_however_long_it_takes(state: Frozen, handed_over: bool) -> None:
    begun = KNOWN if handed_over else [STARTED]
    stream = [*begun, *(dataclasses.replace(state, at=2.0 + n) for n in range(30))]
    assert decide(stream) is None
    assert decide([*stream, TIME_UP]) == Inconclusive()
    assert decide([*stream, BOOTED]) == Booted("medium")


def test_a_bios_rests_only_while_it_waits_out_a_request_that_was_refused() -> None:
    refused, answered = ControlReply(1.0, 7, "stall", 0), ControlReply(1.0, 7, "success", 1)
    assert may_rest([STARTED, refused, cpu(2.0)]) == pytest.approx(3.5)
    assert may_rest([STARTED, refused, cpu(1.5), cpu(4.5)]) == pytest.approx(1.0)
    assert not may_rest([])
    assert not may_rest([STARTED, cpu(2.0)]), "it may wait for its controller"
    assert not may_rest([STARTED, answered, cpu(2.0)])
    assert not may_rest([STARTED, refused, BiosLine(1.1, "x"), cpu(2.0)]), "it went on"
    assert not may_rest([STARTED, refused, cpu(1.1)]), "it may go on at once"
    assert not may_rest([STARTED, refused, cpu(5.6)]), "its patience is about to end"
    assert not may_rest([STARTED, refused, cpu(2.0), refused])
    assert not may_rest([STARTED, refused, cpu(2.0, 0, 0x7C00)])
    assert not may_rest([HANDED_OVER, refused, cpu(2.0)])


def test_when_the_time_is_up_it_is_inconclusive_with_the_last_words() -> None:
    outcome = decide([STARTED, BiosLine(3.0, "  "), TIME_UP])
    assert outcome == Inconclusive()
    assert "45 s" in outcome.why
    assert STARTED.text in outcome.why
    alone = decide([TIME_UP])
    assert alone is not None
    assert "said nothing" in alone.why


# --- what was tried -------------------------------------------------------------------------


def offered(
    before: Sequence[str], after: str, *meanwhile: Observation, at: float = 45.0
) -> list[Observation]:
    """A key is pressed: screens before, what was seen while it was tried, the screen after."""
    return [
        *(Screen(at, text, "") for text in before),
        Acted(at + 1, Acted.KEY),
        *meanwhile,
        Screen(at + 2, after, ""),
        Acted(at + 2, Acted.DONE),
    ]


def test_a_host_that_stood_still_and_takes_a_key_was_waiting() -> None:
    assert decide([STARTED, *offered(("press", "press"), "pressed")]) == Waiting()
    for progress in PROGRESS:
        assert decide([STARTED, *offered(("press", "press"), "press", progress)]) == Waiting()
    assert decide([STARTED, *offered(("press", "press"), "press", BOOTED)]) == Waiting()


def test_a_host_that_takes_no_key_is_not_waiting() -> None:
    stream = [STARTED, *offered(("press", "press"), "press")]
    assert decide(stream) is None
    assert decide([*stream, TIME_UP]) == Inconclusive()
    assert decide(stream[:-1]) is None, "it is not known yet"
    assert decide([STARTED, Screen(45.0, "one", ""), Screen(46.0, "two", "")]) is None, (
        "without a key"
    )
    assert decide([STARTED, *offered(("press",), "pressed")]) is None, "looked at once before"


def test_the_second_key_may_be_the_right_one() -> None:
    wrong = offered(("press", "press"), "press")
    assert decide([STARTED, *wrong, *offered(("press",), "pressed", at=50.0)]) == Waiting()


def test_what_changes_of_itself_has_not_taken_a_key() -> None:
    """A menu that counts down, a clock: it changes after a key, too."""
    first = offered(("10", "9"), "8")
    second = offered(("8",), "7", at=50.0)
    third = offered(("7",), "6", at=55.0)
    assert decide([STARTED, *first, *second, *third]) is None
    moves = [Screen(44.0, "press", ""), BiosLine(44.5, "on and on")]
    assert decide([STARTED, *moves, *offered(("press",), "press", BusReset(46.0))]) is None


def test_who_boots_of_itself_while_a_key_is_tried_has_booted() -> None:
    stream = [STARTED, *offered(("10", "9"), "8", BOOTED)]
    assert decide(stream[:-1]) is None, "or did it take the key?"
    assert decide(stream) == Booted("medium")
    assert decide([*stream[:-1], TIME_UP]) == Booted("medium")


def test_ctrl_alt_del_is_no_key_that_is_tried() -> None:
    pressed = [STARTED, Acted(1.0, Acted.PS2), BOOTED]
    assert decide(pressed) == Booted("medium")


def tried(what: str, *seen: Observation) -> list[Observation]:
    return [Acted(50.0, what), *seen, Acted(51.0, Acted.DONE)]


def test_what_brought_it_back() -> None:
    ours = HostEvent(1.0, "RESET", guest=False)
    ps2, pulled = tried(Acted.PS2, RESET), tried(Acted.UNPLUGGED, ours, BOOTED)
    assert recovered([*ps2, *pulled]) == Recovery("resets", "not_driven", True)
    assert recovered([*tried(Acted.PS2), *pulled]) == Recovery("dead", "not_driven", True)
    assert recovered([*tried(Acted.PS2, ours), *tried(Acted.UNPLUGGED)]) == Recovery(
        "dead", "not_driven", False
    )
    keyboard = tried(Acted.GADGET_KEYBOARD, RESET)
    assert recovered([*ps2, *keyboard, *pulled]) == Recovery("resets", "resets", True)
    assert recovered([*ps2, *tried(Acted.GADGET_KEYBOARD), *pulled]) == Recovery(
        "resets", "dead", True
    )


def test_what_was_not_tried_to_its_end_says_nothing() -> None:
    ps2, pulled = tried(Acted.PS2, RESET), tried(Acted.UNPLUGGED, BOOTED)
    assert recovered([]) is None
    assert recovered(ps2[:-1]) is None
    assert recovered(ps2) == Recovery("resets", "not_driven", None), "nothing was plugged in"
    assert recovered(pulled) is None
    assert recovered([*ps2, *pulled[:-1]]) == recovered(ps2)


# --- whatever is seen -----------------------------------------------------------------------

moments = st.floats(-5, 100)
words16 = st.integers(0, 0xFFFF)
words32 = st.integers(0, 0xFFFFFFFF)
flags = st.sampled_from((0, IF, 0x100))
lines = st.sampled_from(
    ("", STARTED.text, HANDED_OVER.text, GAVE_UP, MARK + "next-device", MARK, "\x00\x1b[2J")
)
MODES = (Frozen.REAL, Frozen.REAL, Frozen.FLAT_32, "long mode", "virtual 8086 mode")


@st.composite
def random_states(draw: st.DrawFn) -> Frozen:
    """A processor anywhere, at whatever code."""
    mode = draw(st.sampled_from(MODES))
    return frozen(
        draw(st.binary(max_size=24)),
        {0x8000: draw(st.binary(max_size=8))},
        at=draw(moments),
        mode=mode,
        halted=draw(st.booleans()),
        flags=draw(flags),
        lines=draw(st.sampled_from((0, 1, LINES, 0xFFFF))),
        remapped=draw(st.booleans()),
        others=draw(st.booleans()),
        EIP=draw(st.sampled_from((0x7C00, 0x7C01, 0, 0x46C, 0x9FFFF, 0x10000, 0xFFFFFFFF))),
        CS=draw(st.sampled_from((0, 0, 0, 0x7C0, 0xB800, 0xF000, 0xFFFF))),
        EBX=draw(words32),
        ECX=draw(st.integers(0, 20)),
        ESP=draw(st.sampled_from((0, 0x6F00, 0x7C00, 0xFFFFFFFF))),
        DS=draw(st.sampled_from((0, 0x40, 0xA000, 0xF000))),
    )


MEANINGFUL = (
    *(hang(2.0) for hang in HANGS.values()),
    frozen("hlt", halted=True),
    frozen("in al, 0x60\njmp 0x7c00"),
    frozen("a: mov eax, [0x46c]\njmp a", flags=IF),
    frozen("a: hlt\njmp a", {0x20: b"\x00\x7e\x00\x00"}, flags=IF),
    frozen("", CS=0xB800, EIP=0),
    dataclasses.replace(frozen("jmp $"), memory=b""),
)
states = st.one_of(st.sampled_from(MEANINGFUL), st.sampled_from(MEANINGFUL), random_states())
observations: st.SearchStrategy[Observation] = st.one_of(
    states,
    st.builds(
        CpuSample,
        moments,
        words16,
        words16,
        st.sampled_from((0x7C00, 0xF1234, 2**63)),
        flags,
        st.booleans(),
        st.booleans(),
        st.binary(max_size=16),
        st.binary(max_size=6),
        st.integers(0, 2),
    ),
    st.builds(BiosLine, moments, lines),
    st.builds(
        Handover,
        moments,
        st.sampled_from((0, 0x80, 0xFF)),
        st.sampled_from((bytes(512), b"\xeb\xfe" * 256, b"")),
        st.sampled_from((handover().tables, bytes(0x500), b"")),
    ),
    st.builds(
        Acted,
        moments,
        st.sampled_from(
            (Acted.KEY, Acted.DONE, Acted.PS2, Acted.GADGET_KEYBOARD, Acted.UNPLUGGED, "")
        ),
    ),
    st.builds(HostEvent, moments, st.sampled_from(("RESET", "SHUTDOWN")), st.booleans()),
    st.builds(DiskIo, moments, words16, words16),
    st.builds(Screen, moments, lines),
    st.builds(BusReset, moments),
    st.builds(Plugged, moments, st.just("high"), words16, words16),
    st.builds(Unplugged, moments),
    st.builds(CableCut, moments),
    st.builds(CableMuted, moments),
    st.builds(CableMended, moments),
    st.builds(
        InterruptPolling,
        moments,
        st.just(0x81),
        st.just(0),
        st.sampled_from((3, 8)),
        st.just(1),
        st.sampled_from((0, 1, 2)),
        st.sampled_from((0, 0x1_0006)),
    ),
    st.builds(DeviceDied, moments, st.just("crashed")),
    st.builds(
        GadgetState,
        moments,
        st.sampled_from(("", "udc")),
        st.just(()),
        st.sampled_from(((), ("disk0/lun.0",))),
        st.booleans(),
    ),
    st.builds(
        ScsiCommand,
        moments,
        st.integers(0, 3),
        st.just(0),
        st.sampled_from(("INQUIRY", "TEST UNIT READY", "READ(10)")),
        st.binary(max_size=16),
        words16,
        st.booleans(),
    ),
    st.builds(
        ScsiReply,
        moments,
        st.integers(0, 3),
        st.sampled_from(("INQUIRY", "REQUEST SENSE", "TEST UNIT READY")),
        st.sampled_from(("passed", "failed", "phase error")),
        st.just(0),
        words16,
        st.binary(max_size=40),
        st.lists(st.just(sector_digest(bytes(512))), max_size=3).map(tuple),
    ),
    st.builds(ControlReply, moments, st.just(1), st.sampled_from(("stall", "success")), words16),
)
streams = st.lists(observations, max_size=25)
truncated = st.tuples(st.lists(observations, max_size=20), st.integers(0, 30)).map(
    lambda both: [*KNOWN, *both[0]][: both[1]]
)
duplicated = st.lists(observations, min_size=1, max_size=8).map(
    lambda few: [*KNOWN, *(o for o in few for _ in range(3)), *few]
)
shuffled = st.permutations([*KNOWN, *MEANINGFUL[:4], *MEANINGFUL[:4], BiosLine(2.0, GAVE_UP)])
any_stream = st.one_of(streams, truncated, duplicated, shuffled)


@given(any_stream)
@settings(max_examples=120, deadline=None)
def test_any_stream_has_at_most_one_outcome_and_harms_nobody(stream: list[Observation]) -> None:
    outcome = decide(stream)
    assert outcome is None or outcome.kind in KINDS
    assert decide(tuple(stream)) == outcome
    if outcome is not None:
        assert outcome.why
        json.dumps(outcome.to_json())
    recovered(stream)
    asked(stream)
    assert isinstance(slow_answer(stream), str)
    assert isinstance(lost_request(stream), str)
    assert may_rest(stream) >= 0
    assert keyboard_driven(stream) in (False, True)
    assert sector_of(stream, bytes(512)) != -1


@given(any_stream)
@settings(max_examples=80, deadline=None)
def test_more_observation_never_turns_an_outcome_into_another(stream: list[Observation]) -> None:
    judge = Judge()
    proven: Outcome | None = None
    for count, seen in enumerate(stream, 1):
        outcome = judge.see(seen)
        assert outcome is judge.outcome
        if proven is None:
            assert outcome == decide(stream[:count])
        else:
            assert outcome is proven
        proven = outcome
    assert decide(stream) == proven


@given(any_stream, any_stream)
@settings(max_examples=60, deadline=None)
def test_when_the_time_is_up_there_is_one_outcome(
    stream: list[Observation], later: list[Observation]
) -> None:
    before = decide(stream)
    final = decide([*stream, TIME_UP])
    assert final is not None
    assert final.why
    assert before is None or final == before
    assert before is not None or final.kind in ("booted", "reset_loop", "inconclusive")
    assert decide([*stream, TIME_UP, *later]) == final


@given(any_stream)
@settings(max_examples=60, deadline=None)
def test_a_recording_is_judged_like_what_was_recorded(stream: list[Observation]) -> None:
    again = [Observation.from_json(o.to_json()) for o in stream]
    assert again == stream
    assert decide(again) == decide(stream)


@given(streams, st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_was_booted_stays_booted(later: list[Observation], suspected: bool) -> None:
    stream = [*KNOWN, *([HANGS["spinning"](1.5)] if suspected else []), BOOTED]
    assert decide(stream) == Booted("medium")
    assert decide([*stream, *later]) == Booted("medium")


@given(streams)
@settings(max_examples=40, deadline=None)
def test_a_drive_that_was_never_given_stays_so(later: list[Observation]) -> None:
    stream: list[Observation] = [GadgetState(-1.0, "", (), (), True)]
    assert decide([*stream, *later]) == NoDrive()


# --- the wire -------------------------------------------------------------------------------


def command(tag: int, name: str) -> ScsiCommand:
    return ScsiCommand(0.1, tag, 0, name, b"\x00" * 6, 36, True)


def reply(tag: int, name: str, data: bytes = b"", status: str = "passed") -> ScsiReply:
    return ScsiReply(0.2, tag, name, status, 0, len(data), data)


def sense(key: int, code: int) -> bytes:
    """Fixed format sense data (SPC-4, 4.5.3)."""
    return bytes((0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, 0, 0, 0, 0, 0))


SET_CONFIGURATION = ControlRequest(0.1, 1, 0, 9, 1, 0, 0, "SET_CONFIGURATION")


def test_a_host_that_hears_that_the_drive_is_empty() -> None:
    heard = asked(
        [
            SET_CONFIGURATION,
            command(1, "INQUIRY"),
            reply(1, "INQUIRY", b"\x00\x80\x04\x02"),
            command(2, "TEST UNIT READY"),
            reply(2, "TEST UNIT READY", status="failed"),
            command(3, "REQUEST SENSE"),
            reply(3, "REQUEST SENSE", sense(0x06, 0x29)),
            command(4, "REQUEST SENSE"),
            reply(4, "REQUEST SENSE", sense(0xF2, 0x3A)),  # only the low four bits are the key
        ]
    )
    assert heard.configured
    assert heard.removable is True
    assert heard.asked_the_drive
    assert heard.senses == ((0x06, 0x29), (0x02, 0x3A))
    assert heard.heard_empty
    assert heard.answered == ("INQUIRY", "TEST UNIT READY", "REQUEST SENSE", "REQUEST SENSE")


def test_other_senses_are_not_an_empty_drive() -> None:
    stream = [reply(1, "REQUEST SENSE", sense(k, c)) for k, c in ((2, 4), (6, 0x3A), (5, 0x20))]
    assert not asked(stream).heard_empty


def test_the_rmb_bit_and_its_absence() -> None:
    assert asked([reply(1, "INQUIRY", b"\x00\x7f")]).removable is False
    assert asked([reply(1, "INQUIRY", b"\x00")]).removable is None, "too short to hold the bit"
    assert asked([command(1, "INQUIRY")]).removable is None


def test_an_answer_that_comes_too_late_or_never() -> None:
    def at(seconds: float, seen: Observation) -> Observation:
        return dataclasses.replace(seen, at=seconds)

    asks = at(1.0, command(999, "INQUIRY"))
    in_time = [asks, at(1.1, reply(999, "INQUIRY"))]
    assert slow_answer(in_time) == ""
    assert slow_answer([asks]) == "the drive never answered INQUIRY"
    # SeaBIOS uses one tag for all: the first answer is not the second command's.
    ready = at(2.0, command(999, "TEST UNIT READY"))
    assert slow_answer([*in_time, ready]) == "the drive never answered TEST UNIT READY"
    late = at(7.2, reply(999, "TEST UNIT READY"))
    assert slow_answer([*in_time, ready, late]) == "the drive took 5.2 s to answer TEST UNIT READY"
    assert slow_answer([asks, at(2.0, Unplugged(0.0))]) == "", "it left: that is no slowness"
    assert slow_answer([asks, at(2.0, CableMuted(0.0))]) == "", "its answer was swallowed"
    assert slow_answer([reply(1, "INQUIRY")]) == ""


GIVES_UP = BiosLine(9.0, "WARNING - Timeout at ehci_wait_td:517!")


@pytest.mark.parametrize("where", ["wait_pipe:414!", "wait_ed:448!", "xhci_event_wait:785!"])
def test_a_request_that_never_came_to_the_cable(where: str) -> None:
    gives_up = BiosLine(9.0, f"WARNING - Timeout at {where}")
    answered = [command(1, "INQUIRY"), reply(1, "INQUIRY")]
    assert lost_request([*answered, gives_up]) == gives_up.text
    asked_too = [SET_CONFIGURATION, ControlReply(0.2, 1, "success", 0)]
    assert lost_request([*asked_too, gives_up, *answered]) == gives_up.text
    assert lost_request([BusReset(0.3), gives_up]) == gives_up.text, "not even its first"


def test_what_the_host_gives_up_for_a_reason_is_not_lost() -> None:
    inquiry, stall = command(1, "INQUIRY"), ControlReply(0.2, 1, "stall", 0)
    assert lost_request([inquiry, GIVES_UP]) == "", "the drive did not answer"
    assert lost_request([SET_CONFIGURATION, GIVES_UP]) == ""
    assert lost_request([SET_CONFIGURATION, stall, GIVES_UP]) == "", "it was refused"
    assert lost_request([inquiry, reply(1, "INQUIRY"), Unplugged(0.3), GIVES_UP]) == ""
    memory = BiosLine(9.0, "WARNING - Timeout at ehci_waittick:178!")
    assert lost_request([inquiry, reply(1, "INQUIRY"), memory]) == "", "no request of the drive's"


def test_a_command_without_its_status_is_unanswered() -> None:
    heard = asked([command(1, "INQUIRY"), reply(1, "INQUIRY", b"\x00\x80"), command(2, "READ(10)")])
    assert not heard.asked_the_drive
    assert not heard.configured
    broken = asked([command(1, "INQUIRY"), reply(1, "INQUIRY", status="phase error")])
    assert broken.answered == ()


def test_no_other_control_request_configures() -> None:
    other = [
        dataclasses.replace(SET_CONFIGURATION, request=5),  # SET_ADDRESS
        dataclasses.replace(SET_CONFIGURATION, request_type=0x21),  # HID SET_REPORT
    ]
    assert not asked(other).configured
