"""What was never code, and when a processor runs wild."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from states import EBDA, IF, IRET_AT, LETTERS, ORIGIN, STACK, frozen, handover

from harness.observation import Frozen, Handover
from harness.outcome.future import CLOSED, OVER_THE_EDGE, Block, future
from harness.outcome.never_code import MANY, never_code, runs_wild

TEXT = b"This is not a bootable disk.  Please insert a bootable floppy"


def judged(
    start: int,
    code: bytes,
    *pieces: Mapping[int, bytes],
    before: Handover | None = handover(),  # noqa: B008 (frozen)
) -> bool:
    state = frozen("", {start: code}, *pieces)
    return never_code(Block(0, start, code), state, before)


@pytest.mark.parametrize("code", [bytes(2), bytes(64), b"\xff\xff", b"\xff" * 40])
def test_memory_as_it_is_when_fresh(code: bytes) -> None:
    assert judged(0x9000, code)
    assert judged(0x9000, code, before=None)


@pytest.mark.parametrize("code", [b"\x00\x00\x01", b"\xff\xff\x00", b"\xeb\xfe", b"\x90" * 40])
def test_code_that_somebody_wrote(code: bytes) -> None:
    assert not judged(0x9000, code)
    assert not judged(EBDA - 0x40, code)


def test_the_interrupt_vectors_as_the_bios_set_them() -> None:
    vectors = b"\x53\xff\x00\xf0"
    assert judged(0x40, vectors)
    assert judged(0x42, vectors[2:] + vectors)
    assert not judged(0x40, b"\xeb\xfe\x00\xf0"), "somebody put code there"
    assert not judged(0x40, vectors, before=None), "nobody knows what the BIOS put there"
    assert not judged(0x4FE, b"\x12\x34\x56\x78"), "it reaches beyond the tables"


def test_the_bioss_extended_data_area() -> None:
    assert judged(EBDA, b"\x12\x34")
    assert judged(0x9FFFE, b"\x12\x34")
    assert not judged(EBDA, b"\x12\x34", before=None)


@pytest.mark.parametrize("segment", [0x0000, 0x0070, 0x7FFF])
def test_no_word_makes_an_ebda_of_a_programs_memory(segment: int) -> None:
    """Otherwise all code of a program that clears the BIOS's data would be none."""
    word = segment.to_bytes(2, "little")
    assert not judged(0x9000, b"\xeb\xfe", {0x40E: word})
    tables = bytearray(handover().tables)
    tables[0x40E:0x410] = word
    before = dataclasses.replace(handover(), tables=bytes(tables))
    assert not judged(0x9000, b"\xeb\xfe", before=before)
    assert judged(EBDA, b"\x12\x34", {0x40E: word}), "the BIOS had it elsewhere"


def test_text() -> None:
    inside = {0x9000: TEXT}
    state = frozen("", inside)
    for place in (0, 10, 30):
        assert never_code(Block(0, 0x9000 + place, TEXT[place : place + 6]), state, None)
    beyond = Block(0, 0x9000 + len(TEXT) - 2, TEXT[-2:] + b"\x00")
    assert not never_code(beyond, state, None), "it runs out of the text"
    short = frozen("", {0x9000: TEXT[:23] + b"\x90"})
    assert not never_code(Block(0, 0x9000, TEXT[:6]), short, None)
    unseen = dataclasses.replace(state, memory=b"")
    assert not never_code(Block(0, 0x9000, TEXT[:6]), unseen, None)


def test_nearly_all_zeros() -> None:
    """A byte here and there that something left."""
    assert judged(0x9000, bytes(60) + b"\xc4" + bytes(60))
    assert judged(0x9000, bytes(56) + b"\xc4" * 8)
    assert not judged(0x9000, bytes(55) + b"\xc4" * 9)
    assert not judged(0x9000, bytes(62) + b"\xc4"), "a short one may be code"


# --- running wild -----------------------------------------------------------------------------


def sled(*pieces: Mapping[int, bytes], **changes: Any) -> Frozen:
    """In text, all of whose letters are an instruction that pushes AX and goes on."""
    text = {0x7C00: LETTERS}
    return frozen(LETTERS[:64], text, *pieces, SS=0x3000, ESP=0x8000, **changes)


def test_executing_text_without_an_end() -> None:
    stack = {0x30000: bytes(0x8000)}
    assert runs_wild(sled(stack), handover())
    assert runs_wild(sled(stack, flags=IF), handover())


@pytest.mark.parametrize("code", [b"\xeb\xfe", b"\xe4\x60", b"\xcd\x19"])
def test_what_leads_to_code_is_no_proof(code: bytes) -> None:
    stack = {0x30000: bytes(0x8000)}
    assert not runs_wild(sled(stack, {0x8000: code}), handover())
    zeros = {0x7C00: bytes(0x8400)}
    assert not runs_wild(frozen(bytes(64), zeros, {0x8000: code}, EBX=0x6000), handover())


def test_what_comes_after_the_end_of_a_segment_is_not_known() -> None:
    ahead = future(frozen(bytes(64), {0x7C00: bytes(0x9400)}, EBX=0x6000))
    assert ahead.end == OVER_THE_EDGE
    crossing = {0xFFF0: b"\x40" * 32}
    assert future(frozen("", crossing, EIP=0xFFF0)).end == OVER_THE_EDGE


def test_the_last_byte_of_a_segment_is_wild_behind_zeros() -> None:
    for place in (0xFFFF, 0xFFF0):
        beyond = {0xF000: bytes(0x1000), 0x10000: bytes(0x1000)}
        fresh = frozen("", beyond, EIP=place, EBX=0x6000)
        assert future(fresh).end == OVER_THE_EDGE
        assert 0 <= future(fresh).instructions < MANY
        assert runs_wild(fresh, handover())
        behind_code = frozen("", beyond, {place - 128: b"\x90"}, EIP=place, EBX=0x6000)
        assert not runs_wild(behind_code, handover())
        assert not runs_wild(dataclasses.replace(fresh, memory=b""), handover())


def test_an_own_handler_could_lead_out_of_it() -> None:
    own, stack = {0x20: b"\x00\x7e\x00\x00"}, {0x30000: bytes(0x8000)}
    assert not runs_wild(sled(own, stack, flags=IF), handover())
    assert runs_wild(sled(own, stack), handover())
    assert not runs_wild(sled(stack, flags=IF), None)


def test_a_closed_loop_of_what_was_never_code_is_wild_however_short() -> None:
    few = frozen(b"\xff" * 4)  # with the BIOS's IRET
    assert runs_wild(few, handover())
    assert future(few).end == CLOSED
    assert future(few).instructions < MANY


def test_legitimate_code_in_a_long_computation_is_not_wild() -> None:
    counts = "a: inc dword [0x6000]\nadc dword [0x6004], 0\njmp a"
    for mode in (Frozen.REAL, Frozen.FLAT_32):
        cleared = frozen(counts, {0x400: bytes(0x100)}, mode=mode)
        assert not runs_wild(cleared, handover())
        assert not runs_wild(cleared, None)


def test_display_memory_is_no_place_for_code() -> None:
    assert runs_wild(frozen("", CS=0xB800, EIP=0), handover())
    assert runs_wild(frozen("", CS=0xA000, EIP=0xFFFF), handover())
    assert runs_wild(frozen("", mode=Frozen.FLAT_32, EIP=0xB8000), handover())
    bounced = {STACK: b"\x00\x00\x00\xa0"}
    iret = IRET_AT - 0xF0000
    assert runs_wild(frozen("", bounced, CS=0xF000, EIP=iret), handover())
    assert not runs_wild(frozen("", bounced, {IRET_AT: b"\x90"}, CS=0xF000, EIP=iret), handover())
    called = {STACK: b"\x00\x7c\x00\x00", 0x7C00: b"\xe4\x60"}
    assert not runs_wild(frozen("", called, CS=0xF000, EIP=iret), handover())
    assert not runs_wild(frozen("", CS=0x9FFF, EIP=0xF), handover())
    assert not runs_wild(frozen("", CS=0xC000, EIP=0), handover())


@pytest.mark.parametrize("mode", ["a mode with paging on", "long mode", "virtual 8086 mode"])
def test_with_paging_on_an_address_says_nothing_of_display_memory(mode: str) -> None:
    assert not runs_wild(frozen("", mode=mode, EIP=0xB8000), handover())


def test_the_bioss_iret_alone_is_no_runaway() -> None:
    loop = frozen("a: int 0x60\njmp a", {IRET_AT: b"\xcf"})
    assert not runs_wild(loop, handover())
    assert loop.linear == ORIGIN
