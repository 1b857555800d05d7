"""The look ahead: small programs whose future is known."""

from __future__ import annotations

import dataclasses
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from states import DATA, IF, IRET_AT, ORIGIN, STACK, frozen, memory

from harness.observation import PAGE, Frozen
from harness.outcome.future import (
    ACCESSES,
    CLOSED,
    COUNTED,
    COUNTS,
    DISTINCT,
    HALTED,
    OVER_THE_EDGE,
    UNSEEN_END,
    Future,
    future,
    trimmed,
)

CLOSED_LOOPS = {
    "a jump to itself": "jmp $",
    "a long jump to itself": "jmp 0:0x7c00",
    "a delay loop": "again: mov cx, 500\nloop $\njmp again",
    "a delay loop in a delay loop": "a: mov bx, 20\nb: mov cx, 20\nloop $\ndec bx\njnz b\njmp a",
    "a counter that wraps round": "inc al\njmp 0x7c00",
    "a byte of memory that wraps round": "inc byte [0x6000]\njmp 0x7c00",
    "a poll of memory": "cmp byte [0x6000], 0\nje 0x7c00\nint 0x19",
    "a lock that is held": "mov al, 1\nmov [0x6000], al\na: mov al, 1\nlock xchg [0x6000], al\n"
    "test al, al\njnz a\nint 0x19",
    "an exchange to and fro": "xchg ax, [0x6000]\njmp 0x7c00",
    "a bit to and fro": "lock btc word [0x6000], 3\njmp 0x7c00",
    "string instructions": "a: mov di, 0x6000\nmov cx, 64\nmov al, 5\nrep stosb\n"
    "mov si, 0x6000\nmov cx, 64\nrepe cmpsb\nmov cx, 9\nrep movsw\nlodsd\nscasb\njmp a",
    "a call": "a: call b\njmp a\nb: push ax\npop bx\nret",
    "a far call": "a: call 0:b\njmp a\nb: enter 8, 0\nleave\nadd sp, 4\njmp a",
    "all registers pushed and popped": "a: pushad\npopad\npushfd\npopfd\njmp a",
    "a service that the BIOS does not know": "a: int 0x60\njmp a",
    "the interrupt as an instruction of a byte": "a: int3\njmp a",
    "an own service": "mov word [0x60*4], s\nmov word [0x60*4+2], 0\na: int 0x60\njmp a\ns: iret",
    "an invalid opcode, which the BIOS returns to": "ud2",
    "a division by zero": "xor cx, cx\ndiv cx",
    "an own handler of a division by zero": "mov word [0], s\nmov word [2], 0\na: xor cx, cx\n"
    "div cx\njmp a\ns: add word [0x6efa], 2\niret",
    "code that changes other code to and fro": "a: xor byte [b + 1], 3\njmp b\nb: mov al, 1\njmp a",
    "a division by zero that is put right far down in its code": "mov word [0], s\n"
    "mov word [2], 0\na: mov byte [0x6100], 0\nmov ax, 0x600\nmov es, ax\nmov [es:0x200], al\n"
    "xor cx, cx\nnop\ndiv cx\nmov cx, 1\njmp a\ns: add word [0x6efa], 2\niret",
    "a service that looks whether interrupts are off": "mov word [0x60*4], s\n"
    "mov word [0x60*4+2], 0\na: sti\nint 0x60\njmp a\ns: pushf\npop ax\ntest ah, 3\njnz x\n"
    "iret\nx: in al, 0x60",
    "memory that is only written to": "mov [0x8000], al\njmp 0x7c00",
    "code in another segment": "jmp 0x700:0xc00",
    "a data segment of its own": "mov ax, 0x600\nmov ds, ax\na: mov bx, [0]\njmp a",
    "32-bit addresses and operands": "a: mov eax, [dword 0x6000]\nlea esi, [eax + eax * 2]\njmp a",
    "interrupts switched on and off": "a: sti\nnop\ncli\njmp a",
    "a HLT with interrupts on": "a: sti\nhlt\njmp a",
}


@pytest.mark.parametrize("program", CLOSED_LOOPS.values(), ids=CLOSED_LOOPS)
def test_it_sees_that_a_loop_closes(program: str) -> None:
    assert future(frozen(program, {0x8000: bytes(PAGE)})).end == CLOSED


OPEN_ENDS = {
    "a loop that ends": ("mov cx, 500\nloop $\nin al, 0x61", "it comes to in al, 0x61"),
    "a poll that finds what it waits for": (
        "mov byte [0x6000], 1\na: cmp byte [0x6000], 0\nje a\nin al, 0x61",
        "it comes to in al, 0x61",
    ),
    "a lock that is free": ("mov al, 1\nlock xchg [0x6010], al\ntest al, al\njnz $\nin al, 0x61",
        "it comes to in al, 0x61"),
    "an input port": ("in al, 0x61\njmp 0x7c00", "it comes to in al, 0x61"),
    "an input port by DX": ("mov dx, 0x3da\nin al, dx\njmp 0x7c00", "it comes to in al, dx"),
    "an output port": ("out 0x80, al\njmp 0x7c00", "it comes to out"),
    "a string from a port": ("rep insw\njmp 0x7c00", "it comes to rep insw"),
    "the time stamp counter": ("rdtsc\njmp 0x7c00", "it comes to rdtsc"),
    "CPUID": ("cpuid\njmp 0x7c00", "it comes to cpuid"),
    "a control register": ("mov eax, cr0\njmp 0x7c00", "it comes to mov eax, cr0"),
    "a debug register": ("mov dr7, eax\njmp 0x7c00", "it comes to mov dr7, eax"),
    "another interrupt table": ("lidt [0x6000]\njmp 0x7c00", "it comes to lidt"),
    "the coprocessor": ("fld1\njmp 0x7c00", "it comes to fld1"),
    "code that changes itself": ("xor byte [b + 1], 0\nb: mov al, 1\njmp $", "it changes the code"),
    "code that changes itself by words": ("mov ax, [0x46c]\nmov [a + 1], ax\na: mov bx, 0\njmp $",
        "it changes the code"),
    "a far return": ("push 0\npush 0x7c00\nretf", "it comes to retf"),
    "a far return by words of 32 bits": ("o32 retf 4", "it comes to retf"),
    "BOUND": ("bound ax, [0x6000]\njmp 0x7c00", "it comes to bound"),
    "display memory": ("mov ax, 0xb800\nmov ds, ax\nmov al, [0]\njmp $", "no RAM"),
    "writing to display memory": ("mov ax, 0xa000\nmov es, ax\nstosb\njmp $", "no RAM"),
    "a jump into display memory": ("jmp 0xb800:0", "no RAM"),
    "memory after the end of RAM": ("mov esi, 0xfee00000\nmov al, [esi]\njmp $", "no RAM"),
    "memory that was not recorded": ("mov al, [0x5000]\njmp $", "was not recorded"),
    "a word of which half was recorded": ("mov ax, [0x6fff + 0x1000]\njmp $", "was not recorded"),
    "code that was not recorded": ("jmp 0:0x4000", "was not recorded"),
    "a stack that was not recorded": ("mov sp, 0x5000\npush ax\njmp $", "was not recorded"),
    "single steps": ("pushf\npop ax\nor ax, 0x100\npush ax\npopf\na: jmp a", "single-stepped"),
    "single steps after an interrupt": ("push 0x100\npush 0\npush a\niret\na: jmp a",
        "single-stepped"),
    "the BIOS, jumped to": ("jmp 0xf000:0xe05b", "in the BIOS"),
    "an own interrupt 10h that goes on to the BIOS's": ("int 0x10\njmp $", "in the BIOS"),
    "a loop in the BIOS": ("jmp 0xf000:0xe000", "in the BIOS"),
}  # fmt: skip


@pytest.mark.parametrize(("program", "words"), OPEN_ENDS.values(), ids=OPEN_ENDS)
def test_it_does_not_see_further_than_it_knows(program: str, words: str) -> None:
    vectors = {
        0x09 * 4: b"\x87\xe9\x00\xf0",
        0x10 * 4: b"\x00\x60\x00\x00",
        0x13 * 4: b"\xfe\xe3\x00\xf0",
        0x19 * 4: b"\xf2\xe6\x00\xf0",
        0x6000: b"\xea\x65\xf0\x00\xf0",
    }
    bios = {0xFE000: b"\xeb\xfe" + bytes(0xFFE), 0xFF065: b"\x9c"}
    if "half" in words or "0x6fff" in program:
        vectors[0x7FFE] = b"\x01\x02"
    ahead = future(frozen(program, vectors, bios))
    assert words in ahead.end


RANDOM = "imul ax, [0x6000], 25173\nadd ax, 13849\nmov [0x6000], ax\njmp 0x7c00"
"""All numbers of 16 bits come by, in an order that does not count (Grogono 1980)."""


def test_no_end_is_seen_of_a_long_round() -> None:
    # 64 Ki rounds of a generator of numbers, and far more instructions than are looked at.
    assert future(frozen(RANDOM)).end == UNSEEN_END
    # 512 instructions are a block at most: here it is how many different ones there are.
    straight = future(frozen(b"\x40" * 8000 + b"\xe9\xbd\xe0", origin=0x8000))
    assert straight.end == UNSEEN_END
    assert DISTINCT <= straight.instructions < DISTINCT + 512
    # Pushes, to where no code is: here it is what is written.
    busy = future(frozen(b"\x50" * 500 + b"\xbc\x00\x6f\x40\xe9\x05\xfe", origin=0x8000))
    assert busy.end == UNSEEN_END
    assert ACCESSES / 2 <= busy.instructions <= 2 * ACCESSES


@pytest.mark.parametrize(
    "program",
    [
        "mov cx, {}\na: loop a\njmp 0x7c00",
        "mov word [0x6000], {}\na: dec word [0x6000]\njnz a\njmp 0x7c00",
        "mov si, {0}\nb: mov di, 3\na: dec di\njnz a\ndec si\njnz b\njmp 0x7c00",
    ],
)
def test_what_counts_far_is_given_up(program: str) -> None:
    few, many = (future(frozen(program.format(count))) for count in (COUNTED - 100, 4 * COUNTED))
    assert few.end == CLOSED
    assert many.end == COUNTS
    assert many.instructions < 16 * COUNTED


@pytest.mark.parametrize(
    "program",
    [
        "lock inc dword [0x6000]\njmp 0x7c00",
        "mov eax, 1\nlock xadd [0x6000], eax\njmp 0x7c00",
        "mov ax, [0x6000]\nmov bx, ax\ninc bx\nlock cmpxchg [0x6000], bx\nxor ax, ax\nxor bx, bx\n"
        "jmp 0x7c00",
        "mov bx, 0x6100\ninc word [0x6000]\nmov si, 0x6000\nmov di, 0x6100\nmovsw\njmp 0x7c00",
        "mov eax, [0x6000]\ninc eax\nmov di, 0x6000\nstosd\nxor eax, eax\njmp 0x7c00",
        "pop ax\ninc ax\npush ax\nxor ax, ax\njmp 0x7c00",
        "add dword [0x6000], 1\nadc dword [0x6004], 0\nxor ax, ax\njmp 0x7c00",
        "inc word [a + 1]\njmp a\na: mov ax, 0\nxor ax, ax\njmp 0x7c00",
        "inc byte [0x6000]\njnz 0x7c00\ninc word [0x6fff]\nxor ax, ax\njmp 0x7c00",
    ],
)
def test_a_count_in_memory_is_no_closed_loop_however_it_is_written(program: str) -> None:
    stack_of_its_own = {0x6EF0: bytes(16)}
    assert future(frozen(program, stack_of_its_own)).end in (COUNTS, UNSEEN_END)


def test_a_loop_in_loops_is_closed_when_none_of_them_counts_far() -> None:
    """However often a register of an outer one differs meanwhile."""
    program = (
        "mov dx, 2\nc: mov si, 42\nb: mov di, 42\na: dec di\njnz a\ndec si\njnz b\n"
        "dec dx\njnz c\njmp 0x7c00"
    )
    assert 3 * COUNTED < 2 * 42 * 42
    assert future(frozen(program)).end == CLOSED


def test_code_that_changes_itself_is_followed_as_it_is_then() -> None:
    # The jump to itself is turned into one to the next instruction.
    onward = "mov byte [b + 1], 0\njmp b\nb: jmp b\nmov al, 1\nin al, 0x60"
    assert future(frozen(onward)).end == "it comes to in al, 0x60"
    late = "a: dec cx\njnz a\nmov byte [b + 1], 0\njmp b\nb: jmp b\nhlt"
    assert future(frozen(late, ECX=1000)).end == HALTED


def test_hlt_with_interrupts_off_is_the_end() -> None:
    assert future(frozen("cli\nhlt", flags=IF)).end == HALTED
    assert future(frozen("hlt\njmp 0x7c00")).end == HALTED
    assert future(frozen("hlt", mode=Frozen.FLAT_32)).end == HALTED


@pytest.mark.parametrize("mode", [Frozen.REAL, Frozen.FLAT_32, "long mode"])
def test_a_processor_halted_with_interrupts_off_has_come_to_it(mode: str) -> None:
    ahead = future(frozen("jmp $", mode=mode, halted=True))
    assert ahead.end == HALTED
    assert ahead.instructions == 0
    assert ORIGIN & -PAGE in ahead.touched, "where it is, for whoever shows it"


def test_a_processor_halted_with_interrupts_on_goes_on_after_its_hlt() -> None:
    waits = frozen("a: hlt\njmp a", flags=IF, halted=True, EIP=ORIGIN + 1)
    ahead = future(waits)
    assert (ahead.end, ahead.halts, ahead.interruptible) == (CLOSED, True, True)
    assert (
        future(frozen("hlt\nint 0x60\ncli\nhlt", flags=IF, halted=True, EIP=0x7C01)).end == HALTED
    )


def test_other_modes_are_not_followed() -> None:
    for mode in ("long mode", "virtual 8086 mode", "protected mode"):
        assert mode in future(frozen("jmp $", mode=mode)).end


def test_beyond_its_segment_it_is_not_followed() -> None:
    outside = {0x10000: b"\xeb\xfe"}
    ahead = future(frozen("jmp $", outside, {0: b"\xeb\xfe"}, EIP=0x10000))
    assert ahead.end == "it runs out of its segment"
    assert not ahead.blocks


# --- what it tells ----------------------------------------------------------------------------


def test_it_tells_what_is_executed_in_a_round() -> None:
    ahead = future(frozen("mov cx, 3\nloop $\na: nop\njmp a"))
    assert {(b.cs, b.linear, b.code) for b in ahead.blocks} == {(0, ORIGIN + 5, b"\x90\xeb\xfd")}
    assert ahead.instructions == 2
    assert ahead.undefined == frozenset()


def test_a_block_has_the_segment_that_it_is_executed_in() -> None:
    ahead = future(frozen("jmp 0x7c0:a - 0x7c00\na: jmp a"))
    assert {(b.cs, b.linear) for b in ahead.blocks} == {(0x7C0, ORIGIN + 5)}


def test_it_tells_what_is_read() -> None:
    ahead = future(
        frozen(
            "a: mov al, [0x6001]\nmov ebx, [0x6010]\nmov si, 0x6020\nlodsw\npush ax\npop ax\njmp a"
        )
    )
    assert ahead.reads == {(0x6001, 1), (0x6010, 4), (0x6020, 2), (STACK - 2, 2)}
    assert (0x60 * 4, 4) in future(frozen("a: int 0x60\njmp a")).reads


@pytest.mark.parametrize(
    ("program", "address", "count"),
    [
        ("lock inc byte [0x6003]\njmp 0x7c00", 0x6003, 1),
        ("xchg [0x6003], al\njmp 0x7c00", 0x6003, 1),
        ("cmpxchg [0x6004], bx\njmp 0x7c00", 0x6004, 2),
        ("bt word [0x6004], 5\njmp 0x7c00", 0x6004, 2),
        ("lgs bx, [0x6004]\njmp 0x7c00", 0x6006, 2),
        ("test byte [0x6003], 1\njmp 0x7c00", 0x6003, 1),
        ("mov si, 0x6003\nmov di, 0x6800\nmovsb\njmp 0x7c00", 0x6003, 1),
        ("mov di, 0x6003\nscasb\njmp 0x7c00", 0x6003, 1),
        ("mov bx, 0x6000\nmov al, 3\nxlatb\njmp 0x7c00", 0x6003, 1),
        ("jmp [0x6004]", 0x6004, 2),
        ("jmp far [0x6004]", 0x6006, 2),
        ("mov ss, [0x6006]\njmp 0x7c00", 0x6006, 2),
    ],
)
def test_no_way_of_reading_is_missed(program: str, address: int, count: int) -> None:
    ahead = future(frozen(program, {0x6004: b"\x00\x7c\x00\x00"}))
    assert ahead.end == CLOSED
    assert (address, count) in ahead.reads


def test_interrupts_are_let_in_where_the_flags_say_so() -> None:
    for program, let_in in (
        ("jmp $", False),
        ("a: sti\nnop\ncli\njmp a", True),
        ("a: pushf\npop ax\nor ax, 0x200\npush ax\npopf\nnop\ncli\njmp a", True),
        ("a: push 0x202\npush 0\npush b\niret\nb: cli\njmp a", True),
        ("a: int 0x60\njmp a", False),
    ):
        assert future(frozen(program)).interruptible is let_in, program
    assert future(frozen("a: int 0x60\njmp a", flags=IF)).interruptible
    assert future(frozen("jmp $", flags=IF)).interruptible


def test_what_leads_into_the_loop_counts_for_whoever_could_interfere() -> None:
    """A host that waits for an interrupt for some time, and hangs if none comes."""
    program = "mov cx, 90\na: hlt\ncmp byte [0x6000], 0\njne b\nloop a\ncli\njmp $\nb: int 0x19"
    ahead = future(frozen(program, flags=IF))
    assert ahead.end == CLOSED
    assert ahead.interruptible
    assert (DATA, 1) in ahead.reads
    assert not ahead.halts, "of the round alone"
    assert [b.code for b in ahead.blocks] == [b"\xeb\xfe"]
    assert not future(frozen("jmp $")).interruptible, "once it is in its loop"


def test_it_tells_which_opcodes_are_none() -> None:
    ahead = future(frozen("a: nop\nud2\njmp a"))
    assert ahead.end == CLOSED, "the BIOS's IRET returns to the same opcode"
    assert ahead.undefined == {ORIGIN + 1}
    assert future(frozen(b"\xff\xff\xff\xff")).undefined == {ORIGIN}


def test_it_tells_how_far_down_the_stack_goes() -> None:
    assert future(frozen("jmp $")).stack == STACK
    assert future(frozen("a: call b\njmp a\nb: push ax\njmp c\nc: pop ax\nret")).stack == STACK - 4
    assert future(frozen("jmp $", ESP=0xABCD6F00, SS=0x10)).stack == 0x7000, "SP alone counts"
    assert future(frozen("jmp $", ESP=0, SS=0x100)).stack == 0x11000, "the segment's end"
    assert future(frozen("jmp $", mode=Frozen.FLAT_32, ESP=0x106F00)).stack == 0x106F00


# --- flat mode --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program",
    [
        "jmp $",
        "a: mov ecx, 500\nloop $\njmp a",
        "a: call b\njmp a\nb: push eax\npop ebx\nret",
        "a: mov eax, [0x6000]\nmov edi, 0x6000\nmov ecx, 9\nrep stosb\njmp a",
        "a: cmp byte [0x100000], 0\nje a",
        "a: sti\nhlt\njmp a",
    ],
)
def test_flat_loops_close_too(program: str) -> None:
    above = {0x100000: bytes(PAGE)}
    assert future(frozen(program, above, mode=Frozen.FLAT_32)).end == CLOSED
    assert future(frozen(program, above, mode=Frozen.FLAT_32, origin=0x200000)).end == CLOSED


@pytest.mark.parametrize(
    "program",
    [
        *("int 0x60", "int3", "iretd", "jmp 8:0x7c00", "call 8:0x7c00", "retf"),
        *("mov ds, ax", "pop es", "push ds", "les eax, [0x6000]"),
        *("mov ax, ds", "mov eax, cs", "mov [0x6000], ss"),
        *("mov al, [fs:0x6000]", "mov [gs:0x6000], al", "xlatb", "gs lodsb"),
        *("ltr ax", "mov cr3, eax", "in al, 0x60"),
    ],
)
def test_in_flat_mode_it_knows_no_selectors_and_no_tables(program: str) -> None:
    ahead = future(frozen(f"{program}\njmp 0x7c00", mode=Frozen.FLAT_32))
    assert "it comes to" in ahead.end


def test_flat_exceptions_are_not_followed() -> None:
    for program in ("ud2", "xor ecx, ecx\ndiv ecx"):
        assert "in protected mode" in future(frozen(program, mode=Frozen.FLAT_32)).end


def test_flat_memory_ends_where_ram_does() -> None:
    ends = frozen("mov al, [0x300000]\njmp $", mode=Frozen.FLAT_32, ram=0x300000)
    assert "no RAM" in future(ends).end


# --- where code lies --------------------------------------------------------------------------


def test_code_that_runs_over_a_page() -> None:
    loop = b"\x90" * 30 + b"\xeb\xe0"
    for origin in range(0x7FE0, 0x8002):
        ahead = future(frozen(loop, {0x8000 + PAGE: b"\0"}, {0x7FDF: b"\0"}, origin=origin))
        assert ahead.end == CLOSED, hex(origin)
        assert ahead.instructions == 31
    only_one_page = memory({0x7FFE: b"\x90\xb8"})
    cut = dataclasses.replace(frozen("", EIP=0x7FFE), memory=Frozen.packed(only_one_page))
    assert "was not recorded" in future(cut).end


def test_memory_above_one_megabyte_in_real_mode() -> None:
    ahead = future(frozen("jmp 0xffff:0x10", {0x100000: b"\xeb\xfe"}))
    assert ahead.end == CLOSED
    assert {b.linear for b in ahead.blocks} == {0x100000}


def test_only_a_bare_iret_of_the_bios_is_followed() -> None:
    service = frozen("a: int 0x60\njmp a", {IRET_AT: b"\x90\xcf"})
    assert future(service).end == "it is in the BIOS"


# --- the same for everybody -------------------------------------------------------------------


def same_but_for_what_was_kept(one: Future, other: Future) -> bool:
    return dataclasses.replace(one, touched=frozenset()) == dataclasses.replace(
        other, touched=frozenset()
    )


def test_a_state_has_one_future() -> None:
    state = frozen("a: inc byte [0x6000]\njmp a")
    first = future(state)
    future.cache_clear()
    assert future(dataclasses.replace(state, at=5.0)) == first


ALL_PROGRAMS = [*CLOSED_LOOPS.values(), *(program for program, _ in OPEN_ENDS.values())]


@pytest.mark.parametrize("program", ALL_PROGRAMS, ids=[*CLOSED_LOOPS, *OPEN_ENDS])
def test_what_is_kept_of_memory_is_what_the_future_depends_on(program: str) -> None:
    whole = frozen(program, {0x8000: bytes(PAGE), 0x9F000: bytes(PAGE)})
    pages = whole.pages()
    kept = trimmed(dataclasses.replace(whole, memory=b""), lambda a: pages.get(a, b""))
    assert same_but_for_what_was_kept(future(kept), future(whole))
    assert kept.pages().keys() == future(whole).touched
    assert kept.pages().keys() <= pages.keys()
    assert 0 in kept.pages(), "the vectors, which others ask for"
    assert 0x9F000 not in kept.pages()
    for page in kept.pages().keys() - {0}:
        rest = {a: data for a, data in kept.pages().items() if a != page}
        without = dataclasses.replace(kept, memory=Frozen.packed(rest))
        assert not same_but_for_what_was_kept(future(without), future(kept)), "it is not needed"


def test_what_is_kept_is_the_memory_of_that_moment() -> None:
    whole = frozen("a: inc byte [0x6000]\njmp a")
    pages = whole.pages()
    kept = trimmed(whole, lambda a: pages.get(a, b""))
    assert kept.pages()[DATA] == pages[DATA]
    assert kept.registers == whole.registers


@given(code=st.binary(min_size=1, max_size=40), flat=st.booleans(), flags=st.sampled_from((0, IF)))
@settings(max_examples=60, deadline=None)
def test_any_bytes_have_a_future(code: bytes, flat: bool, flags: int) -> None:
    mode = Frozen.FLAT_32 if flat else Frozen.REAL
    whole = frozen(code, mode=mode, flags=flags)
    ahead = future(whole)
    assert ahead.end
    pages = whole.pages()
    kept = trimmed(whole, lambda a: pages.get(a, b""))
    assert same_but_for_what_was_kept(future(kept), ahead)


def test_the_longest_look_ahead_takes_no_second() -> None:
    started = time.process_time()
    assert future(frozen(RANDOM)).end == UNSEEN_END
    assert time.process_time() - started < 3


def test_a_place_at_which_nothing_is_executed_is_an_end() -> None:
    ahead = future(frozen("", mode=Frozen.FLAT_32, EIP=0xFFFFFFFF))
    assert ahead.end.startswith("it cannot be followed")


@pytest.mark.parametrize("place", [0x7E00, 0xFE39, 0xFF00])
def test_a_run_of_zeros_up_to_the_end_of_the_segment_is_kept_whole(place: int) -> None:
    """Also where Unicorn's block goes beyond the end, into a page that nobody executes."""
    zeros = {0x7000: bytes(0x9000), 0x10000: bytes(PAGE), 0x6000: bytes(PAGE)}
    whole = frozen("", zeros, EIP=place, EBX=0x6000)
    pages = whole.pages()
    kept = trimmed(whole, lambda a: pages.get(a, b""))
    assert future(kept) == future(whole)
    assert future(kept).end == OVER_THE_EDGE
    assert future(kept).instructions >= (0x10000 - place) // 2 - 1
