"""Observations: their recordings, and the stream that threads share."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import observation
from harness.observation import (
    PAGE,
    REGISTERS,
    Acted,
    Awaited,
    BiosLine,
    BusReset,
    CableBent,
    CableCut,
    CableMended,
    CableMuted,
    ControlReply,
    ControlRequest,
    CpuSample,
    DeviceDied,
    DiskIo,
    Disturbed,
    Frozen,
    GadgetState,
    GaveUp,
    Handover,
    HostEvent,
    InterruptPolling,
    Observation,
    Plugged,
    Recorder,
    Screen,
    ScsiCommand,
    ScsiReply,
    ServerAnswered,
    Stalled,
    TimeUp,
    Unplugged,
    read_recording,
    sector_digest,
    write_recording,
)

HOSTILE = "\x1b[31m\x00\n\u2028\udc80 \U0001f4be \"'\\"

EXAMPLES: tuple[Observation, ...] = (
    GadgetState(-0.5, "dummy_udc.0", ("hid.GS0", "mass_storage.disk0"), ("disk0/lun.0",), True),
    GadgetState(-0.5, "", (), (), False),
    DeviceDied(-0.25, "restarted"),
    Plugged(0.0, "high", 0x3346, 0x1009),
    Unplugged(1.0),
    BusReset(1.5),
    ControlRequest(1.6, 2**63, 0x80, 6, 0x100, 0, 18, "GET_DESCRIPTOR"),
    ControlReply(1.6, 2**63, "success", 18),
    ScsiCommand(1.7, 0xFFFFFFFF, 0, "INQUIRY", bytes(range(16)), 36, True),
    ScsiReply(1.8, 0xFFFFFFFF, "INQUIRY", "passed", 0, 36, b"\x00\x80"),
    ScsiReply(1.8, 1, "READ(10)", "passed", 0, 1024, b"\xeb\x3c", (sector_digest(bytes(512)),) * 2),
    InterruptPolling(1.85, 0x81, 0, 3, 1, 1, 0x1_0006),
    Stalled(1.851, 0x82),
    GaveUp(1.852, "READ(10)"),
    CableCut(1.86),
    CableMuted(1.87),
    CableMended(1.88),
    CableBent(1.89, "the status of INQUIRY 1: a wrong tag"),
    BiosLine(1.9, HOSTILE),
    HostEvent(2.0, "RESET", True),
    CpuSample(2.1, 0xF000, 0xFF53, 0xFFF53, 0x202, False, True, b"\xcf" * 16, b"", 0x1800AF),
    Handover(2.1, 0x80, bytes(range(256)) * 2, bytes(0x500)),
    Frozen(
        *(2.1, tuple(range(16)), Frozen.REAL, False, 0x7143, False, False, 1 << 26),
        Frozen.packed({0: bytes(PAGE), 0x7000: bytes(range(256)) * 16}),
    ),
    Frozen(2.1, (0xFFFFFFFF81C0B2AA,) * 16, "long mode", True, 0, True, True, 1 << 26, b""),
    Acted(2.15, Acted.KEY),
    Awaited(2.18, "GNU GRUB"),
    Disturbed(2.15, "command INQUIRY 1", "the reset button is pressed"),
    ServerAnswered(2.15, 'POST /api {"file": ""}', f"200 {HOSTILE}"),
    TimeUp(2.15, 45.0),
    DiskIo(2.2, 1, 0),
    Screen(2.3, "a\n\nb" + HOSTILE, "a1b2"),
)


def test_there_is_an_example_of_each_kind() -> None:
    assert {type(o).__name__ for o in EXAMPLES} == set(observation._KINDS)


def test_a_recording_gives_back_what_was_seen(tmp_path: Path) -> None:
    path = tmp_path / "observations.jsonl"
    write_recording(path, EXAMPLES)
    assert read_recording(path) == EXAMPLES
    lines = path.read_text(encoding="ascii").split("\n")
    assert len(lines) == len(EXAMPLES) + 1, "one line each, whatever was in them"
    assert '"data": "0080"' in lines[9]


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.binary(max_size=64))
@settings(max_examples=100, deadline=None)
def test_any_text_and_bytes_survive(text: str, at: float, data: bytes) -> None:
    seen: Observation
    for seen in (BiosLine(at, text), ScsiReply(at, 1, text, "passed", 0, len(data), data)):
        again = Observation.from_json(seen.to_json())
        assert again == seen
        assert type(again) is type(seen)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no JSON",
        '{"at": 1.0}',
        '{"kind": "Observation", "at": 1.0}',
        '{"kind": "Recorder", "at": 1.0}',
        '{"kind": "TimeUp", "at": 1.0}',
        '{"kind": "TimeUp", "at": 1.0, "seconds": 2.0, "more": 1}',
        '{"kind": "ScsiReply", "at": 1, "tag": 1, "name": "", "status": "", "residue": 0, '
        '"length": 1, "data": "no digits"}',
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "observations.jsonl"
    path.write_text(f"{BusReset(1.0).to_json()}\n{line}\n")
    with pytest.raises(ValueError, match=r"."):
        read_recording(path)


def test_interrupts_on_is_eflags_if() -> None:
    def sample(flags: int) -> CpuSample:
        return CpuSample(0.0, 0, 0, 0, flags, False, True, b"", b"", 0)

    assert sample(0x202).interrupts_on
    assert not sample(0xFFFFFDFF).interrupts_on
    assert state(EFLAGS=0x202).interrupts_on
    assert not state(EFLAGS=0xFFFFFDFF).interrupts_on


def state(mode: str = Frozen.REAL, memory: bytes = b"", **registers: int) -> Frozen:
    values = tuple((dict.fromkeys(REGISTERS, 0) | registers).values())
    return Frozen(0.0, values, mode, False, 0, False, False, 1 << 26, memory)


def test_where_a_frozen_processor_is() -> None:
    assert state(CS=0xF000, EIP=0xFFF0).linear == 0xFFFF0
    assert state(CS=0xFFFF, EIP=0xFFFF).linear == 0x10FFEF
    assert state(Frozen.FLAT_32, CS=8, EIP=0x100000).linear == 0x100000


def test_frozen_registers_have_names() -> None:
    numbered = dataclasses.replace(state(), registers=tuple(range(16)))
    assert [numbered[name] for name in REGISTERS] == list(range(16))
    with pytest.raises(ValueError, match=r"."):
        numbered["CR0"]


@given(
    st.dictionaries(
        st.integers(0, 0xFFFFF).map(lambda n: n * PAGE), st.binary(min_size=1, max_size=9)
    )
)
@settings(max_examples=50, deadline=None)
def test_frozen_memory_is_what_was_packed(pieces: dict[int, bytes]) -> None:
    pages = {address: piece.ljust(PAGE, b"\xa5") for address, piece in pieces.items()}
    packed = state(memory=Frozen.packed(pages))
    assert packed.pages() == pages
    assert Frozen.packed(dict(reversed(pages.items()))) == packed.memory, "in whatever order"
    assert state().pages() == {}
    with pytest.raises(ValueError, match="memory that was not packed"):
        dataclasses.replace(state(), memory=b"garbage").pages()


# --- the stream -----------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The recorder's clock: a list whose only value is now."""
    now = [100.0]
    monkeypatch.setattr("harness.observation.time.monotonic", lambda: now[0])
    return now


def test_the_clock_starts_at_the_release(clock: list[float]) -> None:
    recorder = Recorder()
    clock[0] += 2
    recorder.add(Unplugged)
    clock[0] += 3
    assert recorder.now() == 5.0
    recorder.release()
    assert recorder.now() == 0.0
    clock[0] += 0.5
    recorder.add(BusReset)
    assert recorder.seen() == (Unplugged(-3.0), BusReset(0.5))
    # A second boot of the same case moves everything again.
    clock[0] += 0.5
    recorder.release()
    assert recorder.seen() == (Unplugged(-4.0), BusReset(-0.5))


def test_what_was_seen_does_not_change_afterwards() -> None:
    recorder = Recorder()
    recorder.add(BusReset)
    before = recorder.seen()
    recorder.add(Unplugged)
    assert len(before) == 1
    assert [type(o) for o in recorder.seen()] == [BusReset, Unplugged]


def test_what_had_to_be_made_ready_does_not_stand_behind_what_came_after_it() -> None:
    recorder = Recorder()
    recorder.add(BusReset)
    recorder.add_late(functools.partial(TimeUp, seconds=1.0), 1)
    recorder.add(functools.partial(TimeUp, seconds=2.0))  # no progress
    recorder.add_late(functools.partial(TimeUp, seconds=3.0), 2)
    recorder.add(BusReset)
    recorder.add_late(functools.partial(TimeUp, seconds=4.0), 3)
    kinds = [o.seconds if isinstance(o, TimeUp) else type(o) for o in recorder.seen()]
    assert kinds == [BusReset, 1.0, 2.0, 3.0, BusReset]


def later(seconds: float, recorder: Recorder, *texts: str) -> threading.Thread:
    def add() -> None:
        for text in texts:
            time.sleep(seconds)
            recorder.add(functools.partial(BiosLine, text=text))

    thread = threading.Thread(target=add, daemon=True)
    thread.start()
    return thread


def test_wait_returns_at_once_when_there_is_more() -> None:
    recorder = Recorder()
    recorder.add(BusReset)
    started = time.monotonic()
    assert len(recorder.wait(0, 20)) == 1
    assert time.monotonic() - started < 5


def test_wait_returns_when_another_thread_adds() -> None:
    recorder = Recorder()
    thread = later(0.05, recorder, "one")
    started = time.monotonic()
    assert [type(o) for o in recorder.wait(0, 20)] == [BiosLine]
    assert time.monotonic() - started < 10
    thread.join(5)


def test_wait_returns_after_its_time_with_what_there_is() -> None:
    recorder = Recorder()
    recorder.add(BusReset)
    started = time.monotonic()
    assert len(recorder.wait(1, 0.05)) == 1
    assert time.monotonic() - started >= 0.045


def test_wait_until_a_condition_holds() -> None:
    recorder = Recorder()
    thread = later(0.02, recorder, "one", "two", "three")

    def two(seen: tuple[Observation, ...]) -> bool:
        return any(isinstance(o, BiosLine) and o.text == "two" for o in seen)

    seen = recorder.wait_until(two, 20)
    assert seen is not None
    assert two(seen)
    assert recorder.wait_until(lambda seen: False, 0.03) is None
    thread.join(5)


def _disk_io(reads: int, writes: int, at: float) -> DiskIo:
    return DiskIo(at, reads, writes)


def test_many_threads_add_and_nothing_is_lost() -> None:
    recorder = Recorder()

    def add(worker: int) -> None:
        for n in range(50):
            recorder.add(functools.partial(_disk_io, worker, n))

    threads = [threading.Thread(target=add, args=(w,), daemon=True) for w in range(4)]
    for thread in threads:
        thread.start()
    seen = recorder.wait_until(lambda seen: len(seen) == 200, 20)
    assert seen is not None
    assert {(o.reads, o.writes) for o in seen if isinstance(o, DiskIo)} == {
        (w, n) for w in range(4) for n in range(50)
    }
    assert [o.at for o in seen] == sorted(o.at for o in seen)
