"""The rules: hand-made streams for each outcome, and what no stream may ever bring about."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.observation import (
    BiosLine,
    BusReset,
    ControlReply,
    ControlRequest,
    CpuSample,
    DeviceDied,
    DiskIo,
    GadgetState,
    HostEvent,
    Observation,
    Plugged,
    Screen,
    ScsiCommand,
    ScsiReply,
    Unplugged,
)
from harness.outcome.kinds import (
    KINDS,
    NEXT_DEVICE,
    Booted,
    Hung,
    Inconclusive,
    NoBootDevice,
    NoDrive,
    Outcome,
    ResetLoop,
)
from harness.outcome.moments import HANDOVER
from harness.outcome.rules import GAVE_UP, MARK, decide, give_up, may_rest
from harness.outcome.wire import asked, lost_request, slow_answer
from images import payload

IF = 0x200
NOPS = b"\x90" * 16
ZEROS = bytes(16)
SPIN = b"\xeb\xfe" + NOPS[2:]
STACK = b"\x34\x12\x00\xf0\x46\x02"
STARTED = BiosLine(0.0, "SeaBIOS (version 1.16.2)")
HANDED_OVER = BiosLine(1.0, HANDOVER + "0000:7c00")


def cpu(
    at: float,
    cs: int = 0xF000,
    ip: int = 0x1234,
    *,
    flags: int = IF,
    halted: bool = False,
    real_mode: bool = True,
    code: bytes = NOPS,
    stack: bytes = STACK,
) -> CpuSample:
    """A sample; by default in the BIOS, in real mode, at work with interrupts on."""
    linear = cs * 16 + ip if real_mode else ip
    return CpuSample(at, cs, ip, linear, flags, halted, real_mode, code, stack)


def times(start: float = 1.2, count: int = 10, step: float = 0.1) -> list[float]:
    return [start + step * n for n in range(count)]


# --- what is proven -------------------------------------------------------------------------


def test_a_boot_sector_that_names_its_medium_has_booted() -> None:
    outcome = decide([STARTED, HANDED_OVER, BiosLine(1.2344, MARK + "next-device ")])
    assert outcome == Booted(NEXT_DEVICE)
    assert isinstance(outcome, Booted)
    assert outcome.seconds == 1.234
    assert "next-device" in outcome.why


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


def test_three_resets_by_the_guest_itself_are_a_loop() -> None:
    reset = HostEvent(1.0, "RESET", guest=True)
    ours = HostEvent(1.0, "RESET", guest=False)
    end = HostEvent(1.0, "SHUTDOWN", guest=True)
    assert decide([reset, STARTED, reset, ours, ours, end]) is None
    assert decide([reset, STARTED, reset, reset]) == ResetLoop()
    assert decide([reset, reset, reset, BiosLine(2.0, MARK + "medium")]) == Booted("medium")


def test_no_boot_device_is_said_by_a_bios_that_then_waits_alive() -> None:
    said = BiosLine(2.0, GAVE_UP)
    alive = cpu(2.2, halted=True)
    assert decide([alive, said]) is None, "a sample from before it gave up says nothing"
    assert decide([said, cpu(2.2)]) is None
    assert decide([said, cpu(2.2, halted=True, flags=0)]) is None
    assert decide([said, cpu(2.1), alive]) == NoBootDevice()


def test_halted_with_interrupts_off() -> None:
    stream = [HANDED_OVER, *(cpu(t, 0, 0x7C10, halted=True, flags=0) for t in times())]
    outcome = decide(stream)
    assert outcome == Hung("halted")
    assert "0000:7C10" in outcome.why
    assert HANDED_OVER.text in outcome.why


def test_a_jump_to_itself_with_interrupts_off() -> None:
    spinning = [cpu(t, 0, 0x7C10, code=SPIN, flags=0) for t in times()]
    outcome = decide([HANDED_OVER, *spinning])
    assert outcome == Hung("spinning")
    assert "0000:7C10" in outcome.why
    assert decide([HANDED_OVER, *(dataclasses.replace(s, flags=IF) for s in spinning)]) is None


def runaway(never: Sequence[int] = (1, 5, 8)) -> list[Observation]:
    """As seen on SeaBIOS: now in the interrupt table, now at the BIOS's bare IRET."""
    samples = [
        cpu(t, 0, 0x40 + n, code=b"\x53\xff\x00\xf0" * 4) if n in never else cpu(t, 0xF000, 0xFF53)
        for n, t in enumerate(times())
    ]
    return [STARTED, HANDED_OVER, *samples]


def test_executing_the_interrupt_table_is_a_runaway() -> None:
    outcome = decide(runaway())
    assert outcome == Hung("runaway")
    assert "0000:0041" in outcome.why


def test_executing_zeros_is_a_runaway() -> None:
    stream = [HANDED_OVER, *(cpu(t, 0x0, 0x9000, code=ZEROS) for t in times())]
    assert decide(stream) == Hung("runaway")


def test_at_the_bare_iret_counts_where_it_leads() -> None:
    iret = b"\xcf" + NOPS[1:]
    back_to_table = bytes((0x44, 0, 0, 0, 0x46, 2))
    into_table = [cpu(t, 0xF000, 0xFF53, code=iret, stack=back_to_table) for t in times()]
    outcome = decide([HANDED_OVER, *into_table])
    assert outcome == Hung("runaway")
    assert "0000:0044" in outcome.why
    to_loader = bytes((0x10, 0x7C, 0, 0, 0x46, 2))
    assert decide(
        [HANDED_OVER, *(dataclasses.replace(s, stack=to_loader) for s in into_table)]
    ) is (None)
    # An unreadable stack proves nothing, nor does an IRET in a loader's own code.
    assert decide([HANDED_OVER, *(dataclasses.replace(s, stack=b"") for s in into_table)]) is None
    own = [cpu(t, 0, 0x7C20, code=iret, stack=back_to_table) for t in times()]
    assert decide([HANDED_OVER, *own]) is None


def test_the_runaway_proof_wants_never_code_twice_and_nothing_elsewhere() -> None:
    assert decide(runaway(never=(1,))) is None
    stream = runaway()
    stream[5] = cpu(stream[5].at, 0, 0x7C40)  # one sample in a loader
    assert decide(stream) is None


def test_the_runaway_proof_wants_a_handover() -> None:
    assert decide([STARTED, *runaway()[2:]]) is None


def test_low_addresses_in_protected_mode_are_nobodys_table() -> None:
    low = [cpu(t, 0x8, 0x44, real_mode=False, code=ZEROS) for t in times()]
    assert decide([HANDED_OVER, *low]) is None


# --- what is not ----------------------------------------------------------------------------

HANGS = {
    "halted": lambda t: cpu(t, 0, 0x7C10, halted=True, flags=0),
    "spinning": lambda t: cpu(t, 0, 0x7C10, code=SPIN, flags=0),
    "runaway": lambda t: cpu(t, 0, 0x44),
}


@pytest.mark.parametrize("how", HANGS)
def test_a_hang_takes_eight_samples_over_seven_tenths_of_a_second(how: str) -> None:
    sample = HANGS[how]

    def after(moments: Sequence[float]) -> Outcome | None:
        return decide([HANDED_OVER, *map(sample, moments)])

    assert after(times(count=8, step=0.11)) == Hung(how)
    assert after(times(count=7, step=0.5)) is None, "too few samples"
    assert after(times(count=40, step=0.01)) is None, "too short"


@pytest.mark.parametrize("how", HANGS)
@pytest.mark.parametrize(
    "progress",
    [
        BiosLine(1.7, "xhci_wait_event"),
        BusReset(1.7),
        ControlReply(1.7, 1, "success", 0),
        ScsiCommand(1.7, 1, 0, "INQUIRY", b"\x12", 36, True),
        ScsiReply(1.7, 1, "INQUIRY", "passed", 0, 36, b""),
        HostEvent(1.7, "RESET", True),
        DiskIo(1.7, 1, 0),
    ],
    ids=lambda progress: type(progress).__name__,
)
def test_progress_starts_the_proof_anew(how: str, progress: Observation) -> None:
    sample = HANGS[how]
    before, after = map(sample, times(1.1, 6)), map(sample, times(1.8, 6))
    stream = [HANDED_OVER, *before, progress, *after]
    assert decide(stream) is None
    assert decide([*stream, *map(sample, times(2.4, 6))]) == Hung(how)


@pytest.mark.parametrize("how", HANGS)
def test_one_sample_that_differs_breaks_the_proof(how: str) -> None:
    stream: list[Observation] = [HANDED_OVER, *map(HANGS[how], times())]
    stream[4] = cpu(stream[4].at, 0, 0x7C80)
    assert decide(stream) is None


@pytest.mark.parametrize("seconds", [5, 30])
@pytest.mark.parametrize("handed_over", [False, True])
@pytest.mark.parametrize(
    "sample",
    [
        lambda t: cpu(t, 0xF000, 0xD000 + int(t * 97) % 64),  # polls a timer
        lambda t: cpu(t, 0xF000, 0xD000, flags=0),  # the same with interrupts off
        lambda t: cpu(t, 0x8, 0xF1234, real_mode=False, flags=0),  # SeaBIOS's 32-bit code
        lambda t: cpu(t, 0xF000, 0xD000, halted=True),  # yields until the next tick
        lambda t: cpu(t, 0xF000, 0xFF53, code=b"\xcf" + NOPS[1:]),  # returns to itself
    ],
)
def test_a_bios_that_waits_is_not_hung(seconds: int, handed_over: bool, sample: object) -> None:
    assert callable(sample)
    samples = [sample(t) for t in times(1.2, seconds * 10)]
    stream = [STARTED, *([HANDED_OVER] if handed_over else []), *samples]
    assert decide(stream) is None
    assert give_up(stream, 45.0) == Inconclusive()


def test_a_loader_at_work_is_not_hung() -> None:
    work = [
        cpu(1.1, 0, 0x7C20),
        cpu(1.2, 0xF000, 0xD000),  # in INT 13h
        cpu(1.3, 0, 0x0600),  # moved out of the way, as boot loaders do
        cpu(1.4, 0x2000, 0x10, code=SPIN),  # waits for an interrupt
        cpu(1.5, 0x10, 0x100000, real_mode=False, flags=0),
        cpu(1.6, 0, 0x7C30, halted=True),
    ]
    stream = [HANDED_OVER, *(dataclasses.replace(s, at=s.at + n) for n in range(30) for s in work)]
    assert decide(stream) is None


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


def test_given_up_it_is_inconclusive_with_the_last_words() -> None:
    outcome = give_up([STARTED, BiosLine(3.0, "  ")], 45.0)
    assert outcome == Inconclusive()
    assert "45 s" in outcome.why
    assert STARTED.text in outcome.why
    assert "said nothing" in give_up([], 45.0).why
    assert give_up(runaway(), 45.0) == Hung("runaway")


# --- whatever is seen -----------------------------------------------------------------------

moments = st.floats(-5, 100)
words16 = st.integers(0, 0xFFFF)
lines = st.sampled_from(
    ("", STARTED.text, HANDED_OVER.text, GAVE_UP, MARK + "next-device", MARK, "\x00\x1b[2J")
)
observations: st.SearchStrategy[Observation] = st.one_of(
    st.builds(
        CpuSample,
        moments,
        words16,
        words16,
        st.integers(0, 2**64),
        st.sampled_from((0, IF)),
        st.booleans(),
        st.booleans(),
        st.one_of(
            st.sampled_from((NOPS, ZEROS, SPIN, b"\xcf" + NOPS, b"")), st.binary(max_size=16)
        ),
        st.binary(max_size=6),
    ),
    st.builds(BiosLine, moments, lines),
    st.builds(HostEvent, moments, st.sampled_from(("RESET", "SHUTDOWN")), st.booleans()),
    st.builds(DiskIo, moments, words16, words16),
    st.builds(Screen, moments, lines),
    st.builds(BusReset, moments),
    st.builds(Plugged, moments, st.just("high"), words16, words16),
    st.builds(Unplugged, moments),
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
        st.sampled_from(("INQUIRY", "TEST UNIT READY")),
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
    ),
)
streams = st.lists(observations, max_size=30)


@given(streams)
@settings(max_examples=150, deadline=None)
def test_any_stream_has_at_most_one_outcome_and_harms_nobody(stream: list[Observation]) -> None:
    outcome = decide(stream)
    assert outcome is None or outcome.kind in KINDS
    assert decide(tuple(stream)) == outcome
    final = give_up(stream, 45.0)
    assert final == (outcome or Inconclusive())
    assert final.why
    asked(stream)
    assert isinstance(slow_answer(stream), str)
    assert isinstance(lost_request(stream), str)
    assert may_rest(stream) >= 0


@given(streams, st.booleans())
@settings(max_examples=100, deadline=None)
def test_what_was_booted_stays_booted(later: list[Observation], proven_hung_before: bool) -> None:
    stream = [*(runaway() if proven_hung_before else [STARTED]), BiosLine(9.0, MARK + "medium")]
    assert decide(stream) == Booted("medium")
    assert decide([*stream, *later]) == Booted("medium")


@given(streams)
@settings(max_examples=100, deadline=None)
def test_a_drive_that_was_never_given_stays_so(later: list[Observation]) -> None:
    # Without a line of a boot sector: after NoDrive no host is started (harness/rig.py).
    later = [o for o in later if not (isinstance(o, BiosLine) and o.text.startswith(MARK))]
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
    assert slow_answer([reply(1, "INQUIRY")]) == ""


GIVES_UP = BiosLine(9.0, "WARNING - Timeout at ehci_wait_td:517!")


@pytest.mark.parametrize("where", ["wait_pipe:414!", "wait_ed:448!", "xhci_event_wait:785!"])
def test_a_request_that_never_came_to_the_cable(where: str) -> None:
    gives_up = BiosLine(9.0, f"WARNING - Timeout at {where}")
    answered = [command(1, "INQUIRY"), reply(1, "INQUIRY")]
    assert lost_request([*answered, gives_up]) == gives_up.text
    asked_too = [SET_CONFIGURATION, ControlReply(0.2, 1, "success", 0)]
    assert lost_request([*asked_too, gives_up, *answered]) == gives_up.text


def test_what_the_host_gives_up_for_a_reason_is_not_lost() -> None:
    inquiry, stall = command(1, "INQUIRY"), ControlReply(0.2, 1, "stall", 0)
    assert lost_request([inquiry, GIVES_UP]) == "", "the drive did not answer"
    assert lost_request([SET_CONFIGURATION, GIVES_UP]) == ""
    assert lost_request([SET_CONFIGURATION, stall, GIVES_UP]) == "", "it was refused"
    assert lost_request([inquiry, reply(1, "INQUIRY"), BusReset(0.3), GIVES_UP]) == ""
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
