"""What the processor does from a frozen state on if nobody interferes: the proof of a loop.

The frozen registers and memory (`harness.observation.Frozen`) are run on in Unicorn, which is
QEMU's own translator as a library, alone: no interrupt, clock or device is there. Two ends of
that prove something:

* CLOSED: registers and all memory come back to what they were. The same then happens for ever,
  unless somebody from outside changes what the loop reads. Who could is not decided here: the
  `Future` says what is read, whether interrupts are let in, and whether it passes a HLT.
* HALTED: HLT with interrupts off.

Everything else proves nothing, in particular whatever touches the world outside: a port, memory
that is no RAM, the BIOS (but for its bare IRET), an instruction that is not in `_KNOWN`.
Pure: the same state has the same future on every machine.
"""

from __future__ import annotations

import functools
import gc
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import capstone
import unicorn
from unicorn import x86_const as x86

from harness.observation import PAGE, REGISTERS, Frozen

INSTRUCTIONS = 200_000
"""How far ahead is looked. A loop with a longer round is not seen to close."""

DISTINCT = 8_000
"""How many different instructions may be among them: to translate one takes most of the time."""

BLOCKS = 12_000
"""The same in blocks, runs of instructions without a branch: each costs some microseconds."""

ACCESSES = 60_000
"""The same in reads and writes of memory, which cost as much: zeros, as code, are two each."""

COUNTED = 1_000
"""So many times in a row the loop came by with the same difference: it counts, and would be back
only after an overflow."""

CLOSED, HALTED, UNSEEN_END = "closed", "halted", "no end of it was seen"
COUNTS = "it counts, and goes on when it is done"

ADAPTER = 0xA0000
"""From here to the BIOS area memory is the display adapter's: reading it asks a device."""

BIOS, BIOS_END = 0xC0000, 0x100000

REAL_MODE_END = 0x110000
"""The first page that real mode does not reach: FFFF:FFFF is 10FFEFh."""

OPERAND_SIZE, LOCK = 0x66, 0xF0
"""Prefixes (Intel SDM 2, 2.1.1)."""

HLT, IRET = 0xF4, 0xCF
"""SeaBIOS answers what it does not know with a bare IRET (src/romlayout.S, entry_iret_official)."""

OVER_THE_EDGE = "it runs out of its segment"
"""At the end of a segment QEMU sometimes wraps around and sometimes runs on, depending on where
its translation happens to end; a PC's processor raises an exception."""

CHANGES_ITSELF = "it changes the code that is just being executed"

NOWHERE = 0xFFFF_FFFF
"""Where Unicorn is to stop, for it wants to be told. A BIOS has no instruction there."""

SLED = bytes(32)
"""So many zeros are a run of them."""

UNDEFINED = 6
"""The vector of the exception for an invalid opcode (Intel SDM 3, 6.15)."""

_IF, _TF = 0x200, 0x100
"""EFLAGS (Intel SDM 1, 3.4.3)."""

MEMORY = "memory"
_ENGINE: Any = unicorn
"""The module with its own types, which are not complete, left out."""
_SELECTORS = ("CS", "SS", "DS", "ES", "FS", "GS")
_PARTS = ("AL", "BX", "SI")
_IDENTIFIERS = {name: int(getattr(x86, f"UC_X86_REG_{name}")) for name in (*REGISTERS, *_PARTS)}

# Instructions that compute, move data within RAM, or branch: what they read there Unicorn
# tells, and none of them asks the world outside. Names as capstone has them. "int1" (F1h) is an
# invalid opcode to Unicorn as to QEMU up to 8 (target/i386/tcg/translate.c, WANT_ICEBP). RETF is
# not among them: Unicorn 2.1 forgets where it returns to while it tells of what it reads.
_KNOWN_WORDS = """
    aaa aad aam aas adc add and bsf bsr bswap bt btc btr bts call cbw cdq cdqe clc cld cli cmc
    cmp cmpsb cmpsd cmpsw cmpxchg cwd cwde daa das dec div enter hlt idiv imul inc int int1 int3
    into iret iretd ja jae jb jbe jcxz je jecxz jg jge jl jle jmp jne jno jnp jns jo jp js lahf
    lcall lds lea leave les lfs lgs ljmp lodsb lodsd lodsw loop loope loopne lss mov movsb movsd
    movsw movsx movzx mul neg nop not or pause pop popa popal popaw popf popfd push pusha pushal
    pushaw pushf pushfd rcl rcr ret rol ror sahf sal salc sar sbb scasb scasd scasw seta setae
    setb setbe sete setg setge setl setle setne setno setnp setns seto setp sets shl shld shr
    shrd stc std sti stosb stosd stosw sub test ud0 ud1 ud2 xadd xchg xlatb xor
"""
_KNOWN = frozenset(_KNOWN_WORDS.split())
_SETS_FLAGS = frozenset({"cli", "sti", "popf", "popfd", "iret", "iretd"})
_SETS_CS = frozenset({"lcall", "ljmp", "iret", "iretd"})
_OF_REAL_MODE_WORDS = "int int1 int3 into iret iretd lds les lfs lgs lss lcall ljmp xlatb"
_OF_REAL_MODE = frozenset(_OF_REAL_MODE_WORDS.split())
"""What loads a segment register or uses the interrupt table, and XLATB, of which capstone does
not tell the segment. Not looked into in FLAT_32: there the look ahead has no selectors and no
descriptor tables."""
_CONTROL_REGISTER = re.compile(r"\b[cdt]r\d")
_SEGMENT = re.compile(r"(^|, )[cdefgs]s(,|$)|\b[fg]s:")
"""A segment register as an operand, or one of those two that need not be flat."""


@dataclass(frozen=True)
class Block:
    """A run of instructions without a branch; `linear` is its address."""

    cs: int
    linear: int
    code: bytes


@dataclass
class _Checked:
    """Of a block: `refused` says why it cannot be followed, "" if it can; `decoded` whether all of
    it was; `pushed` how many bytes it has on the stack at most, above those at its start."""

    instructions: int = 1
    sets_flags: bool = True
    sets_cs: bool = True
    decoded: bool = True
    refused: str = ""
    pushed: int = 0


def _pushed(name: str, code: bytes, operands: str, *, real: bool) -> int:
    """By how many bytes an instruction makes the stack longer."""
    word = 2 if real != (OPERAND_SIZE in code[:-1]) else 4
    if name.startswith(("pusha", "popa")):
        return 8 * word if name.startswith("push") else -8 * word
    if name.startswith("push") or name == "call":
        return word
    if name == "lcall":
        return 2 * word
    if name.startswith("int"):
        return 3 * word
    if name == "enter":
        return word + int(operands.split(",")[0], 0)
    return -word if name.startswith("pop") else 0


@dataclass(frozen=True)
class Future:
    """How it goes on.

    `end` is CLOSED, HALTED, or says in words what stopped the look ahead.

    Of one round of a closed loop, else of all that was seen: `blocks`, `instructions`,
    `undefined`, the linear addresses of opcodes that are none, and `halts`, whether it passes a
    HLT.

    Of all that was seen, the way into the loop included, since whoever interferes there may
    keep it from its loop: `reads`, linear (address, bytes) of data; `interruptible`, whether
    interrupts are let in anywhere; `stack`, the lowest linear address of the top of the stack;
    `touched`, the pages of memory that were looked at, by address.
    """

    end: str
    blocks: frozenset[Block]
    reads: frozenset[tuple[int, int]]
    undefined: frozenset[int]
    interruptible: bool
    halts: bool
    instructions: int
    stack: int
    touched: frozenset[int]


@functools.lru_cache(maxsize=8)
def future(frozen: Frozen) -> Future:
    """Look ahead from a frozen state."""
    recorded = frozen.pages()
    return _ahead(frozen, lambda address: recorded.get(address, b""))


def trimmed(frozen: Frozen, page: Callable[[int], bytes]) -> Frozen:
    """`frozen` with the memory that its future depends on, and no other.

    `page` gives the PAGE bytes at a page's address, as they were when the state was frozen.
    """
    touched = _ahead(frozen, page).touched
    return replace(frozen, memory=Frozen.packed({address: page(address) for address in touched}))


def _ahead(frozen: Frozen, page: Callable[[int], bytes]) -> Future:
    seen = _Look(frozen, page).run()
    # An engine and its callbacks hold each other, and 100 MB of addresses: they are young, so
    # the garbage collector need not look far.
    gc.collect(1)
    return seen


@functools.cache
def _decoder(bits: int) -> capstone.Cs:
    return capstone.Cs(capstone.CS_ARCH_X86, bits)


class _Look:
    """One look ahead."""

    def __init__(self, frozen: Frozen, page: Callable[[int], bytes]) -> None:
        self._frozen = frozen
        self._page = page
        self._real = frozen.mode == Frozen.REAL
        mode = unicorn.UC_MODE_16 if self._real else unicorn.UC_MODE_32
        self._uc = _ENGINE.Uc(unicorn.UC_ARCH_X86, mode)
        self._decoder = _decoder(capstone.CS_MODE_16 if self._real else capstone.CS_MODE_32)
        self._checked: dict[tuple[int, bytes], _Checked] = {}
        self._first: dict[int, bytes] = {}
        """What was in each page that is mapped now, before anything was done to it."""
        self._end = ""
        self._trap = -1
        self._after_hlt = -1
        self._sled = self._slid = False
        self._undecoded = False
        self._block = 0, 0
        """Where the code is that is being executed: first address, and the one behind it."""
        self._flags_changed = True
        self._cs: int | None = None
        """As far as it is known: to ask Unicorn for it costs as much as all else of a block."""
        self._order = [*REGISTERS, MEMORY]
        self._code: dict[tuple[int, int], bytes] = {}
        self._code_pages: set[int] = set()
        self._asked: set[int] = {0}
        """Pages that were looked at in other ways than by Unicorn's reading and writing. The first
        one has the interrupt vectors, on which a lot depends."""
        self._changed: set[int] = set()
        """Pages that were written to."""
        self._written: set[int] = set()
        """The same since the anchor."""
        self._steps = self._distinct = self._accesses = 0
        # The anchor: a state that is waited for to come back (R. P. Brent 1980, An improved
        # Monte Carlo factorization algorithm, section 2: a new one at each power of two).
        self._anchor_linear = -1
        self._anchor: dict[str, int] = {}
        self._anchor_memory: dict[int, bytes] = {}
        self._since, self._power = 0, 1
        self._value, self._difference, self._counted = 0, ("", 0), 0
        """When it last came by and was not back: the first register or page of memory that
        differed, as a number; its name, and by how much it had changed; how often alike."""
        self._last_round = False
        self._reads: set[tuple[int, int]] = set()
        self._interruptible = False
        self._stack = 1 << 32
        self._begin_round()

    def _begin_round(self) -> None:
        """Begin to note anew what is told of one round."""
        self._seen: set[tuple[int, bytes]] = set()
        self._blocks: set[Block] = set()
        self._undefined: set[int] = set()
        self._halts = False
        self._instructions = 0

    def run(self) -> Future:
        """Everything up to the end."""
        if self._frozen.halted and not self._frozen.interrupts_on:
            self._asked.add(self._frozen.linear & -PAGE)
            self._end = HALTED
        elif self._frozen.mode in (Frozen.REAL, Frozen.FLAT_32):
            self._prepare()
            while not self._end:
                self._go_on()
            self._asked.add(self._linear() & -PAGE)  # of code that could not be fetched
        else:
            self._end = f"the processor is in {self._frozen.mode}"
        return Future(
            end=self._end,
            blocks=frozenset(self._blocks),
            reads=frozenset(self._reads),
            undefined=frozenset(self._undefined),
            interruptible=self._interruptible,
            halts=self._halts,
            instructions=self._instructions,
            stack=self._stack,
            touched=self._touched(),
        )

    def _touched(self) -> frozenset[int]:
        read = {place & -PAGE for a, size in self._reads for place in (a, a + size - 1)}
        touched = self._asked | self._changed | self._code_pages | read
        return frozenset(page for page in touched if len(self._page(page)) == PAGE)

    def _prepare(self) -> None:
        uc = self._uc
        if self._real:
            self._map_all()
        for name, value in zip(REGISTERS, self._frozen.registers, strict=True):
            # In Unicorn's 32-bit mode all segments are flat from the start.
            if self._real or name not in _SELECTORS:
                uc.reg_write(_IDENTIFIERS[name], value)
        self._clean = uc.context_save()
        for kind, told in (
            (unicorn.UC_HOOK_BLOCK, self._on_block),
            (unicorn.UC_HOOK_MEM_READ, self._on_read),
            (unicorn.UC_HOOK_MEM_WRITE, self._on_write),
            (unicorn.UC_HOOK_INTR, self._on_trap),
            (unicorn.UC_HOOK_MEM_UNMAPPED, self._on_unmapped),
        ):
            uc.hook_add(kind, told)

    def _go_on(self) -> None:
        """Run until something has to be seen to."""
        self._trap = -1
        self._sled = False
        if self._real and self._register("EIP") > 0xFFFF:
            self._end = OVER_THE_EDGE  # Unicorn would start at another address
            return
        steps = self._steps
        try:
            self._uc.emu_start(self._linear(), NOWHERE)
        except _ENGINE.UcError as error:
            if not self._end and error.errno == unicorn.UC_ERR_INSN_INVALID:
                self._undecoded = False
                self._undefined.add(self._linear())
                self._deliver(UNDEFINED)
            elif not self._end:
                self._end = f"it cannot be followed: {error}"
            return
        if self._end:
            return
        if self._sled:
            self._slide()
        elif self._trap >= 0:
            self._calm()
            self._deliver(self._trap)
        elif self._linear() != self._after_hlt:
            # Unicorn comes up for air, as after an IRET; at NOWHERE it does not even begin.
            if self._steps == steps:
                self._end = "it cannot be followed: no instruction was executed"
        elif not self._register("EFLAGS") & _IF:
            self._end = HALTED
        else:
            self._halts = True  # the interrupt that ends it comes, and goes

    def _slide(self) -> None:
        """Be at the end of a run of zeros, as if all were run.

        For each two `add [bx+si], al`; in 32 bits `add [eax], al`.

        They are the commonest runaway, and to translate thousands would take seconds. The last
        one is left to be run, for the flags.
        """
        self._slid = True
        start, offset = self._linear(), self._register("EIP")
        length, most = 0, 0x10000 - offset if self._real else 0x10000
        while length < most:
            left = min(PAGE - (start + length) % PAGE, most - length)
            part = self._peek(start + length, left)
            length += len(part) - len(part.lstrip(b"\0"))
            if part.lstrip(b"\0"):
                break
        if self._real:
            target = self._register("BX") + self._register("SI") & 0xFFFF
            target += self._register("DS") * 16
        else:
            target = self._register("EAX")
        skipped = max(0, length // 2 - 1)
        if self._end:
            return  # there is no memory
        if start <= target < start + length:
            self._end, skipped = CHANGES_ITSELF, (target - start) // 2
        elif self._real and length == most:
            self._end = OVER_THE_EDGE
        elif skipped:
            value = self._peek(target, 1)[0] + skipped * self._register("AL")
            self._poke(target, bytes([value & 0xFF]))
            self._reads.add((target, 1))
            self._write("EIP", offset + 2 * skipped)
        else:
            return
        self._blocks.add(Block(self._register("CS"), start, SLED))
        self._instructions += skipped

    def _calm(self) -> None:
        """Have Unicorn forget an exception: it would make a double fault of the next one."""
        values = [(name, self._register(name)) for name in REGISTERS]
        self._uc.context_restore(self._clean)
        for name, value in values:
            if self._real or name not in _SELECTORS:
                self._write(name, value)

    def _deliver(self, vector: int) -> None:
        """An interrupt or exception in real mode (Intel SDM 2, INT n)."""
        if not self._real:
            self._end = f"interrupt or exception {vector:#x} in protected mode"
            return
        entry = self._peek(vector * 4, 4)
        if self._end:
            return
        flags, cs, ip = (self._register(name) for name in ("EFLAGS", "CS", "EIP"))
        stack = self._register("SS") * 16
        pointer = self._register("ESP")
        for word in (flags, cs, ip):
            pointer = (pointer & ~0xFFFF) | (pointer - 2 & 0xFFFF)
            self._poke(stack + (pointer & 0xFFFF), (word & 0xFFFF).to_bytes(2, "little"))
        self._write("ESP", pointer)
        self._write("EFLAGS", flags & ~(_IF | _TF))
        self._write("CS", int.from_bytes(entry[2:], "little"))
        self._write("EIP", int.from_bytes(entry[:2], "little"))
        self._reads.add((vector * 4, 4))
        self._flags_changed = True

    # --- what Unicorn tells ---------------------------------------------------------------

    def _on_block(self, uc: Any, linear: int, size: int, _: Any) -> None:
        self._block = linear, linear + size
        code = self._code.get((linear, size))
        if code is None:
            code = self._code[linear, size] = bytes(uc.mem_read(linear, size))
            self._code_pages.update((linear & -PAGE, linear + size - 1 & -PAGE))
        if code.startswith(SLED) and not self._slid:
            self._sled = True
            uc.emu_stop()
            return
        if self._cs is None:
            self._cs = self._register("CS")
        if self._real and linear + size - self._cs * 16 > 0x10000:
            self._stop(OVER_THE_EDGE)
            return
        self._slid = False
        check = self._check(linear, code)
        refused = check.refused
        if self._undecoded:
            refused = "an instruction that is not looked into"
        elif self._flags_changed:
            flags = self._register("EFLAGS")
            self._interruptible |= bool(flags & _IF)
            refused = refused or ("it is single-stepped" if flags & _TF else "")
        if refused:
            self._stop(refused)
            return
        self._undecoded = not check.decoded
        self._flags_changed = check.sets_flags
        cs = self._cs
        if check.sets_cs:
            self._cs = None
        self._after_hlt = linear + size if code[-1:] == bytes([HLT]) else -1
        self._steps += 1
        self._since += 1
        if linear == self._anchor_linear and self._is_back():
            if self._end:
                return
            if self._last_round:
                self._stop(CLOSED)
                return
            self._last_round = True
            self._begin_round()
        elif self._since > self._power and not self._last_round:
            self._since, self._power = 1, self._power * 2
            self._anchor_linear = linear
            self._anchor = {name: self._register(name) for name in REGISTERS}
            self._anchor_memory = {a: bytes(uc.mem_read(a, PAGE)) for a in self._changed}
            self._written.clear()
        self._instructions += check.instructions
        self._distinct += 0 if (linear, code) in self._seen else check.instructions
        if (
            self._steps > BLOCKS
            or self._instructions > INSTRUCTIONS
            or self._distinct > DISTINCT
            or self._accesses > ACCESSES
        ):
            self._stop(UNSEEN_END)
            return
        if (linear, code) not in self._seen:
            self._seen.add((linear, code))
            self._blocks.add(Block(cs, linear, code))
            self._note_stack(check)
        elif check.pushed:
            self._note_stack(check)

    def _on_read(self, uc: Any, access: int, address: int, size: int, value: int, _: Any) -> None:
        self._accesses += 1
        self._reads.add((address, size))

    def _on_write(self, uc: Any, access: int, address: int, size: int, value: int, _: Any) -> None:
        self._accesses += 1
        self._wrote(address, size)
        start, end = self._block
        if address < end and address + size > start:
            # Unicorn 2.1 begins anew after such an instruction, and after that it does not tell
            # of all reads and writes any more.
            self._stop(CHANGES_ITSELF)

    def _on_trap(self, uc: Any, vector: int, _: Any) -> None:
        self._trap = vector
        uc.emu_stop()

    def _on_unmapped(
        self, uc: Any, access: int, address: int, size: int, value: int, _: Any
    ) -> bool:
        pages = {address & -PAGE, address + max(size, 1) - 1 & -PAGE}
        self._asked |= pages
        return all(self._map(page) for page in sorted(pages))

    # --- below ----------------------------------------------------------------------------

    def _stop(self, end: str) -> None:
        self._end = end
        self._uc.emu_stop()

    def _check(self, linear: int, code: bytes) -> _Checked:
        """What there is to know of a block before it is run."""
        known = self._checked.get((linear, code))
        if known is None:
            known = self._checked[linear, code] = self._checked_now(linear, code)
        return known

    def _checked_now(self, linear: int, code: bytes) -> _Checked:
        if BIOS <= linear < BIOS_END:
            return _Checked(refused="" if code[:1] == bytes([IRET]) else "it is in the BIOS")
        checked, place, pushed = _Checked(instructions=0, sets_flags=False, sets_cs=False), 0, 0
        while place < len(code):
            found = next(self._decoder.disasm_lite(code[place:], linear + place, 1), None)
            if found is None:
                if code[place] != LOCK:
                    checked.decoded, checked.sets_cs = False, True
                    break
                # QEMU 7.2, and Unicorn, heed LOCK in front of what it is not made for.
                place += 1
                continue
            _, size, mnemonic, operands = found
            name = mnemonic.split()[-1]
            checked.instructions += 1
            checked.sets_flags |= name in _SETS_FLAGS
            checked.sets_cs |= name in _SETS_CS
            refused = (
                name not in _KNOWN
                or _CONTROL_REGISTER.search(operands) is not None
                or (
                    not self._real
                    and (name in _OF_REAL_MODE or _SEGMENT.search(operands) is not None)
                )
            )
            if refused:
                checked.refused = f"it comes to {mnemonic} {operands}".strip()
                break
            pushed += _pushed(name, code[place : place + size], operands, real=self._real)
            checked.pushed = max(checked.pushed, pushed)
            place += size
        return checked

    def _is_back(self) -> bool:
        """Whether registers and memory are what they were at the anchor."""
        # What differs now will differ next time, too: it is looked at first.
        for i, what in enumerate(self._order):
            if what == MEMORY:
                page = self._other_page()
                if page is None:
                    continue
                value = int.from_bytes(page, "little")
            elif (value := self._register(what)) == self._anchor[what]:
                continue
            self._order.insert(0, self._order.pop(i))
            difference = what, value - self._value
            alike = difference == self._difference and value != self._value
            self._counted = self._counted + 1 if alike else 0
            self._value, self._difference = value, difference
            if self._counted > COUNTED:
                self._stop(COUNTS)
            return False
        return True

    def _other_page(self) -> bytes | None:
        """What is in a page whose content is not that at the anchor; None when all are the same."""
        for page in self._written:
            then, now = self._then_and_now(page)
            if now != then:
                return now
        for page in self._first:
            then, now = self._then_and_now(page)
            if now != then:
                self._stop("memory changed, and Unicorn did not tell of it")
        return None

    def _then_and_now(self, page: int) -> tuple[bytes, bytes]:
        then = self._anchor_memory.get(page, self._first[page])
        return then, bytes(self._uc.mem_read(page, PAGE))

    def _wrote(self, address: int, size: int) -> None:
        for page in {address & -PAGE, address + size - 1 & -PAGE}:
            if page not in self._written:
                self._written.add(page)
                self._changed.add(page)
            if page in self._code_pages:
                self._code.clear()

    def _map_all(self) -> None:
        """Bring in all that real mode reaches.

        With a page that comes in later Unicorn forgets which instruction it is at, and an
        exception in the same block would return to another one.
        """
        there = [page for page in range(0, REAL_MODE_END, PAGE) if self._is_ram(page)]
        contents = {page: self._page(page) for page in there}
        run: list[int] = []
        for page in (*there, REAL_MODE_END + PAGE):
            if run and page != run[-1] + PAGE:
                self._map_run({at: contents[at] for at in run})
                run = []
            if len(contents.get(page, b"")) == PAGE:
                run.append(page)

    def _map(self, page: int) -> bool:
        """Bring in a page, if it is not there; ends the look ahead where there is no RAM."""
        if page in self._first:
            return True
        content = self._page(page)
        if not self._is_ram(page):
            self._end = f"it touches memory at {page:#x}, which is no RAM"
        elif self._real or len(content) != PAGE:
            self._end = f"memory at {page:#x} was not recorded"
        else:
            self._map_run({page: content})
            return True
        return False

    def _map_run(self, contents: dict[int, bytes]) -> None:
        """Bring in pages in a row."""
        start, data = min(contents), b"".join(contents[a] for a in sorted(contents))
        self._uc.mem_map(start, len(data))
        self._uc.mem_write(start, data)
        self._first |= contents

    def _is_ram(self, page: int) -> bool:
        return not ADAPTER <= page < BIOS and page < self._frozen.ram

    def _peek(self, address: int, size: int) -> bytes:
        if self._on_unmapped(None, 0, address, size, 0, None):
            return bytes(self._uc.mem_read(address, size))
        return bytes(size)

    def _poke(self, address: int, data: bytes) -> None:
        if self._on_unmapped(None, 0, address, len(data), 0, None):
            self._uc.mem_write(address, data)
            self._wrote(address, len(data))

    def _register(self, name: str) -> int:
        return int(self._uc.reg_read(_IDENTIFIERS[name]))

    def _write(self, name: str, value: int) -> None:
        self._uc.reg_write(_IDENTIFIERS[name], value)
        if name == "CS":
            self._cs = None

    def _linear(self) -> int:
        base = self._register("CS") * 16 if self._real else 0
        return base + self._register("EIP")

    def _note_stack(self, check: _Checked) -> None:
        self._stack = min(self._stack, self._top_of_stack() - check.pushed)

    def _top_of_stack(self) -> int:
        pointer = self._register("ESP")
        if not self._real:
            return pointer
        # With SP at 0 the next word goes to the segment's end.
        return self._register("SS") * 16 + ((pointer - 1 & 0xFFFF) + 1)
