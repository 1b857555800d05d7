"""Who could end a loop from outside: each reason, and that nothing else is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from states import EBDA, IF, IRET_AT, RAM, frozen, handover

from harness.observation import PAGE, Frozen
from harness.outcome.future import CLOSED, future
from harness.outcome.outside import (
    BIOS_HEAP,
    HANDLERS_STACK,
    RTC_WAIT,
    could_end,
    interrupts_could_end,
)

SPIN = "jmp $"
OWN = b"\x00\x7e\x00\x00"
"""A vector that is not the BIOS's: 0000:7E00."""


def reason(
    program: str,
    *pieces: Mapping[int, bytes],
    flags: int = IF,
    known: bool = True,
    **changes: Any,
) -> str:
    """Who could end this closed loop; by default with interrupts on and the BIOS's handlers."""
    state = frozen(program, *pieces, flags=flags, **changes)
    assert future(state).end == CLOSED
    return could_end(state, handover() if known else None)


@pytest.mark.parametrize(
    "program", [SPIN, "a: hlt\njmp a", "a: call b\njmp a\nb: ret", "a: mov al, [0x6000]\njmp a"]
)
@pytest.mark.parametrize("flags", [0, IF])
def test_with_nothing_but_the_bioss_handlers_nobody_can(program: str, flags: int) -> None:
    if flags or "hlt" not in program:
        assert reason(program, flags=flags) == ""


# --- interrupts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "vector"),
    [
        *((line, 8 + line) for line in (0, 1, 3, 4, 5, 6, 7)),
        *((line, 0x68 + line) for line in range(8, 16)),
        *((0, vector) for vector in (0x1C, 0x05, 0x15, 0x1B)),
        *((1, vector) for vector in (0x05, 0x15, 0x1B)),
        *((8, 0x4A), (9, 0x0A), (13, 0x02)),
    ],
)
def test_a_handler_that_is_not_the_bioss(line: int, vector: int) -> None:
    own = {vector * 4: OWN}
    assert f"interrupt {vector:02X}h" in reason(SPIN, own, lines=1 << line)
    assert reason(SPIN, own, lines=1 << line, flags=0) == "", "interrupts are off"
    segment_alone = {vector * 4 + 3: b"\xe0"}
    assert f"interrupt {vector:02X}h" in reason(SPIN, segment_alone, lines=1 << line)


@pytest.mark.parametrize("vector", [0x09, 0x0B, 0x0E, 0x10, 0x13, 0x1E, 0x4A, 0x70, 0x76])
def test_handlers_of_lines_that_are_not_let_in_do_not_count(vector: int) -> None:
    assert reason(SPIN, {vector * 4: OWN}, lines=1) == ""


@pytest.mark.parametrize("vector", [0x0F, 0x77])
def test_a_spurious_interrupt_comes_whatever_line_is_let_in(vector: int) -> None:
    assert f"interrupt {vector:02X}h" in reason(SPIN, {vector * 4: OWN}, lines=1)
    assert reason(SPIN, {vector * 4: OWN}, lines=0) == ""


def test_nobody_knows_whose_the_handlers_are_without_a_handover() -> None:
    assert "nobody knows" in reason(SPIN, known=False)
    assert reason(SPIN, known=False, flags=0) == ""
    assert reason(SPIN, known=False, lines=0) == ""


def test_other_vectors_than_a_bioss() -> None:
    assert "of its own" in reason(SPIN, remapped=True)
    assert reason(SPIN, remapped=True, flags=0) == ""
    assert reason(SPIN, remapped=True, lines=0) == ""


def test_interrupts_in_protected_mode_have_handlers_of_their_own() -> None:
    assert "of its own" in reason(SPIN, mode=Frozen.FLAT_32)
    assert reason(SPIN, mode=Frozen.FLAT_32, flags=0) == ""
    assert reason(SPIN, mode=Frozen.FLAT_32, lines=0) == ""


@pytest.mark.parametrize("flags", [0, IF])
def test_an_apic_may_send_what_no_flag_keeps_out(flags: int) -> None:
    assert "APIC" in reason(SPIN, others=True, flags=flags, lines=0)


def test_an_interrupt_on_the_way_into_the_loop() -> None:
    program = "sti\nhlt\ncli\njmp $"
    assert "interrupt 08h" in reason(program, {8 * 4: OWN}, flags=0)
    assert reason(program, flags=0) == ""


# --- what is written from outside -------------------------------------------------------------


def reads(address: int) -> str:
    return f"mov ebx, {address:#x}\na: cmp byte [ebx], 1\nje b\njmp a\nb: int 0x19"


@pytest.mark.parametrize("address", [0x400, 0x417, 0x41A, 0x43F, 0x46C, 0x470, 0x4FF])
def test_a_loop_that_reads_the_bioss_data_area(address: int) -> None:
    there = {address & ~3: bytes(4)}
    assert "data area" in reason(reads(address), there)
    assert reason(reads(address), there, flags=0) == "", "no handler comes to write there"
    assert reason(reads(address), there, lines=0) == ""


@pytest.mark.parametrize("address", [0x3FF, 0x500])
def test_the_data_area_has_ends(address: int) -> None:
    assert reason(reads(address), {address: b"\0"}) == ""


def test_a_word_that_reaches_into_the_data_area() -> None:
    assert "data area" in reason("a: mov eax, [0x3fd]\njmp a")


@pytest.mark.parametrize("flags", [0, IF])
@pytest.mark.parametrize("address", [EBDA, EBDA + 0x3FF, 0xC0000, 0xEFFFF])
def test_devices_write_to_what_is_the_bioss_with_interrupts_off_too(
    address: int, flags: int
) -> None:
    assert "devices" in reason(reads(address), {address: b"\0", IRET_AT: b"\xcf"}, flags=flags)


def test_what_the_bios_has_locked_nobody_writes() -> None:
    assert reason(reads(0xF0000), {0xF0000: b"\0", IRET_AT: b"\xcf"}) == ""


@pytest.mark.parametrize(
    ("address", "written"),
    [(RAM - 1, True), (RAM - BIOS_HEAP, True), (RAM - BIOS_HEAP - 1, False), (EBDA - 1, False)],
)
def test_the_bioss_own_memory_has_ends(address: int, written: bool) -> None:
    there = {address: b"\0"}
    assert bool(reason(reads(address), there, flags=0, mode=Frozen.FLAT_32)) is written


def test_an_ebda_of_which_nobody_knows_where_it_is_could_be_anywhere() -> None:
    assert "devices" in reason(reads(0x6000), {0x40E: b"\0\0"}, flags=0)
    assert reason(SPIN, {0x40E: b"\xc0\x9f"}, flags=0) == ""


def test_what_handlers_leave_below_the_stack() -> None:
    def below(count: int) -> str:
        return f"a: cmp byte [0x{0x6F00 - count:x}], 1\nje b\njmp a\nb: int 0x19"

    for count in (1, 6, HANDLERS_STACK):
        assert "below the stack" in reason(below(count))
        assert reason(below(count), flags=0) == ""
        assert reason(below(count), lines=0) == ""
    for count in (0, HANDLERS_STACK + 1):
        assert reason(below(count)) == ""


def test_code_is_read_too() -> None:
    assert "below the stack" in reason(SPIN, ESP=0x7D00)
    assert reason(SPIN, ESP=0x7D00, flags=0) == ""
    assert reason(SPIN, ESP=0x7C00) == ""
    in_ebda = frozen(SPIN, origin=EBDA + 0x20, EIP=0x20, CS=EBDA >> 4)
    assert "devices" in could_end(in_ebda, handover())
    in_tables = frozen(SPIN, origin=0x46C, flags=IF)
    assert future(in_tables).end == CLOSED
    assert "data area" in could_end(in_tables, handover())


def test_the_bioss_iret_is_written_by_nobody() -> None:
    assert reason("a: int 0x60\njmp a") == ""


def test_the_clocks_wait_flag_writes_to_the_callers_memory() -> None:
    waits = {RTC_WAIT: b"\x01"}
    assert "AH=83h" in reason(reads(0x6000), waits)
    assert reason(reads(0x6000), waits, flags=0) == ""
    assert reason(reads(0x6000), {RTC_WAIT: b"\x80"}) == ""


def test_interrupts_alone_are_asked_about_for_a_runaway() -> None:
    state = frozen(reads(0x46C), {0x46C: bytes(4)}, flags=IF)
    assert interrupts_could_end(state, handover()) == ""
    assert could_end(state, handover())
    own = frozen(SPIN, {0x20: OWN}, flags=IF)
    assert interrupts_could_end(own, handover()) == could_end(own, handover()) != ""


def test_a_state_without_its_first_page_proves_nothing() -> None:
    state = frozen(reads(0x6000), flags=0)
    rest = {a: page for a, page in state.pages().items() if a}
    bare = dataclasses.replace(state, memory=Frozen.packed(rest))
    assert future(bare).end != CLOSED or could_end(bare, handover())
    assert len(rest) * PAGE > 0
