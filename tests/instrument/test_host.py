"""The host: register dumps, the text screen, its BIOS and its log."""

from __future__ import annotations

import dataclasses
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from harness.errors import QemuError, UsageError
from harness.host import cpu, screen
from harness.host.cpu import Interrupts, Registers, interrupts, registers
from harness.host.log import LINE_LIMIT, BiosLog
from harness.host.memory import GuestMemory
from harness.host.pc import BIOSES, CONTROLLERS, Pc, bios_arguments, check_bios
from harness.observation import (
    PAGE,
    BiosLine,
    CpuSample,
    DiskIo,
    Frozen,
    Handover,
    HostEvent,
    Observation,
    Recorder,
)
from harness.outcome.future import trimmed
from harness.outcome.rules import MARK
from harness.owner import find_tool
from harness.qemu import PACKAGE, PROGRAM, Qemu, _Loop
from harness.rig import Rig
from images.payload import write_boot_disk

# --- registers: lines as QEMU prints them (target/i386/cpu-dump.c) ---------------------------


def dump(
    general: str,
    last: str,
    cs: str,
    ss: str,
    other: str,
    tables: str,
    control: str,
    dr7: str = "00000400",
    efer: str = "0000000000000000",
) -> str:
    """The lines of QEMU 7.2 from the general registers on."""
    data = "".join(f"{name} ={other}\n" for name in ("DS", "FS", "GS"))
    return (
        f"\nCPU#0\n{general}\n{last}\nES ={other}\nCS ={cs}\nSS ={ss}\n{data}"
        "LDT=0000 00000000 0000ffff 00008200\nTR =0000 00000000 0000ffff 00008b00\n"
        f"GDT=     00000000 0000ffff\nIDT=     {tables}\n{control}\n"
        "DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000 \n"
        f"DR6=00000000ffff0ff0 DR7={dr7}\nEFER={efer}\n"
    )


GENERAL = (
    "EAX=11111111 EBX=22222222 ECX=33333333 EDX=00060fb1\n"
    "ESI=44444444 EDI=55555555 EBP=66666666 ESP=abcd6f00"
)
REAL_DATA = "0000 00000000 0000ffff 00009300"
FLAT_DATA = "0010 00000000 ffffffff 00c09300 DPL=0 DS   [-WA]"
BIOS_VECTORS = "00000000 000003ff"

RESET_VECTOR = dump(
    GENERAL.replace("abcd6f00", "00000000"),
    "EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0",
    *("f000 ffff0000 0000ffff 00009b00", REAL_DATA, REAL_DATA, "00000000 0000ffff"),
    "CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000",
)

REAL_MODE = dump(
    GENERAL,
    "EIP=00007c10 EFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1",
    *("0100 00001000 0000ffff 00009b00", "9000 00090000 0000ffff 00009300"),
    *(REAL_DATA, BIOS_VECTORS),
    "CR0=00000010 CR2=00000000 CR3=00000000 CR4=00000000",
)

PROTECTED = dump(
    GENERAL.replace("abcd6f00", "00106f00"),
    "EIP=000f1234 EFL=00000006 [-----P-] CPL=0 II=0 A20=1 SMM=0 HLT=0",
    *("0008 00000000 ffffffff 00c09b00 DPL=0 CS32 [-RA]", FLAT_DATA, FLAT_DATA),
    "000f6d80 00000000",
    "CR0=00000011 CR2=00000000 CR3=00000000 CR4=00000000",
)

LONG_MODE = """
CPU#0
RAX=0000000000000000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000000
RSI=0000000000000000 RDI=0000000000000000 RBP=ffffffff82803e70 RSP=ffffffff82803e58
R8 =0000000000000000 R9 =0000000000000000 R10=0000000000000000 R11=0000000000000000
R12=0000000000000000 R13=0000000000000000 R14=0000000000000000 R15=0000000000000000
RIP=ffffffff81c0b2aa RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
ES =0000 0000000000000000 00000000 00000000
CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]
SS =0018 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
DS =0000 0000000000000000 00000000 00000000
FS =0000 0000000000000000 00000000 00000000
GS =0000 ffff888003a00000 00000000 00000000
LDT=0000 0000000000000000 00000000 00000000
TR =0040 fffffe0000003000 00004087 00008b00 DPL=0 TSS64-busy
GDT=     fffffe0000001000 0000007f
IDT=     fffffe0000000000 00000fff
CR0=80050033 CR2=00007ffc0c9d7ff8 CR3=0000000001a0a000 CR4=000006f0
DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000
DR6=00000000ffff0ff0 DR7=0000000000000400
EFER=0000000000000d01
"""


@pytest.mark.parametrize(
    ("text", "linear", "stack_top", "mode", "halted"),
    [
        (RESET_VECTOR, 0xFFFFFFF0, 0, "real mode with segments of another mode", False),
        # In real mode only SP counts, whatever is in the upper half of ESP.
        (REAL_MODE, 0x8C10, 0x96F00, Frozen.REAL, True),
        (PROTECTED, 0xF1234, 0x106F00, Frozen.FLAT_32, False),
        (LONG_MODE, 0xFFFFFFFF81C0B2AA, 0xFFFFFFFF82803E58, "long mode", True),
    ],
    ids=["reset vector", "real mode", "protected mode", "long mode"],
)
def test_registers_in_each_mode(
    text: str, linear: int, stack_top: int, mode: str, halted: bool
) -> None:
    for seen in (registers(text), registers(text.replace("\n", "\r\n"))):
        assert (seen.linear, seen.stack_top, seen.mode) == (linear, stack_top, mode)
        assert seen.halted is halted
        assert seen.real_mode is (text in (RESET_VECTOR, REAL_MODE))


def test_each_register_is_the_one_of_its_name() -> None:
    assert registers(REAL_MODE) == Registers(
        values=(
            *(0x11111111, 0x22222222, 0x33333333, 0x60FB1),
            *(0x44444444, 0x55555555, 0x66666666, 0xABCD6F00),
            *(0x7C10, 0x246, 0x100, 0x9000, 0, 0, 0, 0),
        ),
        bases=(0x1000, 0x90000, 0, 0, 0, 0),
        limits=(0xFFFF,) * 6,
        cr0=0x10,
        dr7=0x400,
        efer=0,
        wide=False,
        a20=True,
        halted=True,
        ring=0,
        vectors=(0, 0x3FF),
    )
    seen = registers(REAL_MODE)
    assert [seen[name] for name in ("EAX", "ESP", "EFLAGS", "CS", "SS")] == [
        *(0x11111111, 0xABCD6F00, 0x246, 0x100, 0x9000)
    ]


@pytest.mark.parametrize(
    ("text", "was", "turned", "words"),
    [
        (PROTECTED, "CR0=00000011", "CR0=80000011", "paging"),
        (PROTECTED, "CPL=0", "CPL=3", "protected mode"),
        (PROTECTED, "CS32", "CS16", "protected mode"),
        (PROTECTED, "SS =0010 00000000 ffffffff 00c09300 DPL=0 DS  ",
         "SS =0010 00000000 ffffffff 00809300 DPL=0 DS16", "protected mode"),
        (PROTECTED, "DS =0010 00000000", "DS =0010 00000010", "protected mode"),
        (PROTECTED, "ES =0010 00000000 ffffffff", "ES =0010 00000000 000fffff", "protected mode"),
        (PROTECTED, "EFL=00000006", "EFL=00020006", "virtual 8086"),
        (PROTECTED, "EFER=0000000000000000", "EFER=0000000000000500", "long mode"),
        (REAL_MODE, "A20=1", "A20=0", "address line 20"),
        (REAL_MODE, "DR7=00000400", "DR7=00000401", "breakpoints"),
        (REAL_MODE, "DS =0000 00000000", "DS =0000 00000010", "segments of another mode"),
        (REAL_MODE, "IDT=     00000000", "IDT=     00001000", "interrupt table of its own"),
        (REAL_MODE, "000003ff", "00000000", "interrupt table of its own"),
    ],
)  # fmt: skip
def test_a_mode_in_which_the_look_ahead_does_not_know_its_way(
    text: str, was: str, turned: str, words: str
) -> None:
    assert registers(text).mode in (Frozen.REAL, Frozen.FLAT_32)
    assert text.count(was) == 1
    assert words in registers(text.replace(was, turned)).mode
    assert registers(text.replace(was, turned)).mode not in (Frozen.REAL, Frozen.FLAT_32)


@pytest.mark.parametrize(
    "word",
    [
        *("EAX", "EBX", "ECX", "EDX", "ESI", "EDI", "EBP", "ESP", "EIP", "EFL", "HLT", "CPL"),
        *("CS ", "SS ", "DS ", "ES ", "FS ", "GS ", "CR0", "A20", "DR7", "EFER", "IDT"),
    ],
)
def test_a_dump_that_lacks_something_is_an_error(word: str) -> None:
    with pytest.raises(QemuError, match="register dump"):
        registers(REAL_MODE.replace(f"{word}=", "???="))


# --- interrupts: as QEMU 7.2 prints them ------------------------------------------------------

PIN = "  pin {:<2} 0x0000000000010000 dest=0 vec=0   active-hi edge  masked fixed  physical\n"
PINS = (
    "ioapic0: ver=0x20 id=0x00 sel=0x00\n"
    + "".join(PIN.format(n) for n in range(24))
    + "  IRR      (none)\n  Remote IRR (none)\n"
)
OPEN_PIN = PIN.format(2).replace("00010000", "00000030").replace("masked", "      ")


def pic(first: int = 0xB8, second: int = 0x8E, bases: tuple[int, int] = (0x08, 0x70)) -> str:
    """After SeaBIOS has started, by default."""
    rest = "rr_sel=0 elcr=00 fnm=0\n"
    return (
        f"{PINS}pic1: irr=00 imr={second:02x} isr=00 hprio=0 irq_base={bases[1]:02x} {rest}"
        f"pic0: irr=10 imr={first:02x} isr=00 hprio=0 irq_base={bases[0]:02x} {rest}"
    )


MASKED = "active-hi edge  masked                      Fixed  (vec 0)\n"
LAPIC = (
    "dumping local APIC state for CPU 0 \n\n"
    "LVT0\t 0x00008700 active-hi level                             ExtINT (vec 0)\n"
    "LVT1\t 0x00008400 active-hi level                             NMI   \n"
    f"LVTPC\t 0x00010000 {MASKED}LVTERR\t 0x00010000 {MASKED}LVTTHMR\t 0x00010000 {MASKED}"
    "LVTT\t 0x00010000 active-hi edge  masked         one-shot     Fixed  (vec 0)\n"
    "Timer\t DCR=0x0 (divide by 2) initial_count = 0 current_count = 0\n"
    "SPIV\t 0x000001ff APIC enabled, focus=off, spurious vec 255\n"
    "ISR\t (none)\nIRR\t (none)\n\nAPR 0x00 TPR 0x00 DFR 0x0f LDR 0x00 PPR 0x00\n"
)
HPET = "00000000fed00010: 0x00000000\n"
TIMER = "LVTT\t 0x00020020 active-hi edge                 periodic     Fixed  (vec 32)\n"


def test_the_interrupt_lines_that_are_let_in() -> None:
    assert interrupts(pic(), LAPIC, HPET) == Interrupts(0x7143, remapped=False, others=False)
    assert (
        interrupts(pic().replace("\n", "\r\n"), LAPIC.replace("\n", "\r\n"), HPET).lines == 0x7143
    )
    assert interrupts(pic(0xFF, 0xFF), LAPIC, HPET).lines == 0
    assert interrupts(pic(0xFE, 0xFF), LAPIC, HPET).lines == 1
    assert interrupts(pic(0x00, 0x00), LAPIC, HPET).lines == 0xFFFB, (
        "line 2 is the second controller"
    )


def test_the_second_controller_comes_through_line_2_of_the_first() -> None:
    assert interrupts(pic(0xFB, 0xFE), LAPIC, HPET).lines == 0x100
    assert interrupts(pic(0xFF, 0x00), LAPIC, HPET).lines == 0


@pytest.mark.parametrize("bases", [(0x20, 0x28), (0x08, 0x28), (0x20, 0x70), (0, 0)])
def test_other_vectors_than_a_bioss(bases: tuple[int, int]) -> None:
    assert interrupts(pic(bases=bases), LAPIC, HPET).remapped


@pytest.mark.parametrize("entry", ["LVTPC", "LVTERR", "LVTTHMR"])
def test_an_entry_of_the_local_apic_that_lets_something_in(entry: str) -> None:
    let_in = MASKED.replace("masked", "      ")
    assert interrupts(
        pic(), LAPIC.replace(f"{entry}\t 0x00010000 {MASKED}", f"{entry}\t {let_in}"), HPET
    ).others


def test_the_local_apics_timer() -> None:
    lines = LAPIC.splitlines(keepends=True)
    ticking = "".join(TIMER if line.startswith("LVTT\t") else line for line in lines)
    assert ticking != LAPIC
    assert interrupts(pic(), ticking, HPET).others


def test_event_timers_that_run_may_write_anywhere() -> None:
    assert interrupts(pic(), LAPIC, HPET.replace("0x00000000\n", "0x00000001\n")).others
    with pytest.raises(QemuError, match="event timers"):
        interrupts(pic(), LAPIC, "Cannot access memory")


def test_a_pin_of_the_io_apic_that_lets_something_in() -> None:
    assert interrupts(pic().replace(PIN.format(2), OPEN_PIN), LAPIC, HPET).others


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", LAPIC),
        (pic(), ""),
        (pic(), "local apic state not available\n"),
        (PINS, LAPIC),
        (pic().replace("pic0:", "pic2:"), LAPIC),
        (pic().replace("imr=8e ", ""), LAPIC),
        (pic().replace("irq_base=08", "base=08"), LAPIC),
        (pic().replace("  pin", "  line"), LAPIC),
        (pic(), LAPIC.replace("LVTT\t", "TIMER\t")),
    ],
)
def test_what_is_not_told_of_interrupts_is_an_error(first: str, second: str) -> None:
    with pytest.raises(QemuError, match="QEMU tells nothing"):
        interrupts(first, second, HPET)


class _Monitor:
    """Plays a stopped host's QEMU, with one dump of its registers."""

    def __init__(self, text: str, screen: str = "", status: str = "paused") -> None:
        self.text, self.screen, self.status = text, screen, status
        self.said: list[str] = []

    def monitor(self, command: str) -> str:
        answers = {"info registers": self.text, "info pic": pic(), "info lapic": LAPIC}
        answers[f"xp /1xw {cpu.HPET:#x}"] = HPET
        return answers.get(command, self.screen)

    def execute(self, command: str, arguments: object = None) -> Any:
        self.said.append(command)
        if command == "query-status":
            return {"status": self.status}
        return [
            {"node-name": "other", "stats": {"rd_operations": 9, "wr_operations": 9}},
            {"node-name": "next-device", "stats": {"rd_operations": 3, "wr_operations": 1}},
        ]

    def starved(self) -> float:
        return 0.0


@pytest.fixture
def ram() -> Iterator[GuestMemory]:
    """The host's memory, and a map of it to write with, as `written` does."""
    memory = GuestMemory(4 << 20)
    yield memory
    memory.close()


def written(memory: GuestMemory, address: int, data: bytes) -> None:
    os.pwrite(memory.fd, data, address)


CODE = b"\xf4\xeb\xfd\0\0\0\0\0\1\2\3\4\5\6\7\x08"


def test_a_look_gives_a_sample(ram: GuestMemory) -> None:
    written(ram, 0x8C10, CODE)
    written(ram, 0x96F00, b"\x34\x12\x00\xf0\x46\x02")
    written(ram, 0x46C, b"\x78\x56\x34\x12")
    seen = cpu.look(cast(Qemu, _Monitor(REAL_MODE)), ram, freeze=False)
    assert seen.frozen is None
    assert seen.sample(at=1.5) == CpuSample(
        *(1.5, 0x100, 0x7C10, 0x8C10, 0x246, True, True),
        code=CODE,
        stack=b"\x34\x12\x00\xf0\x46\x02",
        ticks=0x12345678,
    )


def test_a_look_at_all_of_the_state(ram: GuestMemory) -> None:
    written(ram, 0x8C10, CODE)
    seen = cpu.look(cast(Qemu, _Monitor(REAL_MODE)), ram, freeze=True)
    written(ram, 0x8C10, bytes(16))  # the machine runs on
    assert seen.frozen is not None
    frozen = seen.frozen(at=2.5)
    assert (frozen.at, frozen.mode, frozen.halted) == (2.5, Frozen.REAL, True)
    assert frozen.registers == registers(REAL_MODE).values
    assert (frozen.lines, frozen.remapped, frozen.others) == (0x7143, False, False)
    assert (frozen.ram, frozen.memory) == (4 << 20, b"")
    assert seen.page(0x8000)[0xC10:0xC20] == CODE
    assert len(seen.page(0x10F000)) == PAGE
    assert seen.page(4 << 20) == b""


def test_all_memory_is_seen_in_protected_mode(ram: GuestMemory) -> None:
    written(ram, 0x300000, b"high")
    seen = cpu.look(cast(Qemu, _Monitor(PROTECTED)), ram, freeze=True)
    assert seen.page(0x300000).startswith(b"high")


def test_memory_that_is_not_there_is_left_out(ram: GuestMemory) -> None:
    seen = cpu.look(cast(Qemu, _Monitor(LONG_MODE)), ram, freeze=False).sample(at=0.0)
    assert seen.code == seen.stack == b""


def stopped_pc(ram: GuestMemory, qemu: _Monitor) -> Pc:
    """A PC of which only `look` works."""
    pc = Pc.__new__(Pc)
    pc._recorder, pc._hold = Recorder(), threading.RLock()
    pc._memory, pc._qemu = ram, cast(Qemu, qemu)
    pc._ran, pc._since, pc._starved, pc._io = 0.0, time.monotonic(), 0.0, (0, 0)
    pc._still, pc._brake = False, None
    ours, theirs = socket.socketpair()
    pc._log = BiosLog(ours, pc._recorder)
    theirs.close()
    return pc


def test_nobody_looks_at_a_host_that_is_held(ram: GuestMemory) -> None:
    qemu = _Monitor(REAL_MODE)
    pc = stopped_pc(ram, qemu)
    pc.hold()
    ran = pc.ran
    pc.look(None)
    assert qemu.said == ["stop"]
    assert not pc._recorder.seen()
    assert pc.ran == ran, "its clock stands"
    pc.let_go()
    pc.look(None)
    assert qemu.said == ["stop", "cont", "stop", "query-status", "query-blockstats", "cont"]


def test_the_host_is_stopped_while_it_is_looked_at(ram: GuestMemory) -> None:
    qemu = _Monitor(REAL_MODE)
    pc = stopped_pc(ram, qemu)
    pc.look(None)
    assert qemu.said == ["stop", "query-status", "query-blockstats", "cont"]
    assert [type(o) for o in pc._recorder.seen()] == [DiskIo, CpuSample]
    pc.look(None)
    assert [type(o) for o in pc._recorder.seen()][2:] == [CpuSample], "the disk did nothing"


def test_a_state_is_trimmed_after_the_host_runs_on(ram: GuestMemory) -> None:
    qemu = _Monitor(REAL_MODE)
    pc = stopped_pc(ram, qemu)
    said: list[str] = []

    def trim(frozen: Frozen, page: Callable[[int], bytes]) -> Frozen:
        said.extend(qemu.said)
        return dataclasses.replace(frozen, memory=Frozen.packed({0: page(0)}))

    pc.look(trim)
    assert said[-1] == "cont"
    kept = pc._recorder.seen()[-1]
    assert isinstance(kept, Frozen)
    assert kept.pages() == {0: bytes(PAGE)}
    assert kept.at >= 0


@pytest.mark.parametrize("status", ["debug", "running"])
def test_a_host_that_the_debugger_has_is_left_to_it(ram: GuestMemory, status: str) -> None:
    qemu = _Monitor(REAL_MODE, status=status)
    pc = stopped_pc(ram, qemu)
    pc.look(trimmed)
    assert qemu.said == ["stop", "query-status"]
    assert pc._recorder.seen() == ()
    before = pc.ran
    time.sleep(0.01)
    assert pc.ran > before, "its clock runs on"


def test_the_text_screen() -> None:
    shown = ["SeaBIOS", "", "  Booting\x01\xff from Hard Disk..."] + [""] * 22
    cells = [0x0700 | c for line in shown for c in line.ljust(80).encode("latin-1")]
    text = "".join(
        f"{0xB8000 + i * 2:016x}:" + "".join(f" {c:#06x}" for c in cells[i : i + 8]) + "\r\n"
        for i in range(0, len(cells), 8)
    )
    host = _Monitor("", screen=text)
    assert screen.text(cast(Qemu, host)) == "SeaBIOS\n\n  Booting   from Hard Disk..."


# --- the BIOS -------------------------------------------------------------------------------


def test_a_bios_by_name_and_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bios_arguments("seabios") == ()
    (tmp_path / "bios.bin").write_bytes(bytes(2 * 65536))
    assert bios_arguments(f"{tmp_path}/bios.bin") == ("-bios", f"{tmp_path}/bios.bin")
    monkeypatch.chdir(tmp_path)
    assert bios_arguments("bios.bin") == ("-bios", f"{tmp_path}/bios.bin")


def test_a_bios_that_is_an_option_rom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTGATE_CACHE", str(tmp_path / "a,b"))
    for name in set(BIOSES) - {"seabios"}:
        option, file = bios_arguments(name)
        assert option == "-option-rom"
        # QEMU ends an option's value at a single comma.
        assert file == f"{tmp_path}/a,,b/rom/{Path(file).parent.name}/{name}.rom"
        assert Path(file.replace(",,", ",")).is_file()


def test_a_bios_is_checked_without_making_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOTGATE_CACHE", str(tmp_path / "cache"))
    for name in BIOSES:
        check_bios(name)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("size", [0, 100, 65535, 65537, (16 << 20) + 65536])
def test_a_file_that_cannot_be_a_bios(tmp_path: Path, size: int) -> None:
    path = tmp_path / "bios.bin"
    with open(path, "wb") as file:
        file.truncate(size)
    with pytest.raises(UsageError, match=f"{size} bytes are no BIOS image"):
        bios_arguments(str(path))


def test_a_bios_that_is_no_file(tmp_path: Path) -> None:
    for name in (str(tmp_path), str(tmp_path / "gone"), "ovmf", ""):
        with pytest.raises(UsageError, match="neither a BIOS known by name"):
            bios_arguments(name)


def test_a_bios_that_cannot_be_read() -> None:
    # Reading a process's memory at address 0 fails, for root too (proc(5)).
    with pytest.raises(UsageError, match="cannot be read"):
        bios_arguments("/proc/self/mem")


# --- its log and its events -----------------------------------------------------------------


def log_of(*pieces: bytes) -> list[str]:
    """The BIOS lines seen when the debug port gave these pieces and the host went away."""
    recorder = Recorder()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        log = BiosLog(ours, recorder)
        for piece in pieces:
            theirs.sendall(piece)
        theirs.shutdown(socket.SHUT_WR)
        log.join(10)
        assert not log.take()
    return [o.text for o in recorder.seen() if isinstance(o, BiosLine)]


def test_the_log_is_cut_into_lines_wherever_the_pieces_end() -> None:
    assert log_of(b"SeaBIOS\r\nBoot", b"ing from ", b"0000:7c00\n\nlast words") == [
        "SeaBIOS",
        "Booting from 0000:7c00",
        "",
        "last words",
    ]
    assert log_of() == []


def test_the_log_survives_bytes_that_are_no_text() -> None:
    assert log_of(b"\xff\x00ok\n") == ["\\xff\x00ok"]


def test_a_line_without_an_end_is_cut() -> None:
    lines = log_of(b"x" * (3 * LINE_LIMIT), b"\nnext\n")
    assert max(map(len, lines)) <= LINE_LIMIT
    assert len(lines) > 2, "it was kept in memory until its end"
    assert lines[-1] == "next"


def test_events_that_count() -> None:
    pc = Pc.__new__(Pc)
    pc._recorder = Recorder()
    pc._running, pc._stopped = threading.Event(), threading.Event()
    pc._on_event("RESUME", {})
    assert pc._running.is_set()
    assert not pc._stopped.is_set()
    pc._on_event("STOP", {})
    assert not pc._running.is_set()
    assert pc._stopped.is_set()
    pc._on_event("RESET", {"guest": True, "reason": "guest-reset"})
    pc._on_event("RESET", {"guest": False, "reason": "host-qmp-system-reset"})
    pc._on_event("SHUTDOWN", {})
    seen = [(o.name, o.guest) for o in pc._recorder.seen() if isinstance(o, HostEvent)]
    assert seen == [("RESET", True), ("RESET", False), ("SHUTDOWN", False)]


@pytest.mark.rig
def test_a_qemu_that_has_ended_has_been_heard_out(tmp_path: Path) -> None:
    heard: list[str] = []
    with Qemu(
        "test", ("-M", "none"), folder=tmp_path, on_event=lambda name, _: heard.append(name)
    ) as qemu:
        assert not qemu.wait_ended(0.2)
        assert _Loop._loop is not None
        _Loop._loop.call_soon_threadsafe(time.sleep, 1.0)  # its last word comes when we are busy
        qemu.process.terminate()
        assert qemu.wait_ended(20)
        assert "SHUTDOWN" in heard


@pytest.mark.rig
def test_qemu_knows_the_controllers() -> None:
    done = subprocess.run(
        [find_tool(PROGRAM, PACKAGE), "-device", "help"], capture_output=True, text=True, check=True
    )
    for device in (*CONTROLLERS.values(), "usb-redir", "isa-debugcon"):
        assert f'name "{device}"' in done.stdout


@pytest.mark.rig
def test_a_host_at_rest_uses_no_processor_and_goes_on(tmp_path: Path) -> None:
    write_boot_disk(tmp_path / "disk", "test")
    recorder = Recorder()
    pc = Pc("ehci", "seabios", tmp_path / "disk", recorder, tmp_path, cable=False)
    try:
        pc.release()
        with pc.resting():
            process = psutil.Process(pc._qemu.process.pid)
            late = time.monotonic() + 5
            while process.status() != psutil.STATUS_STOPPED:
                assert time.monotonic() < late, "it was not stopped"
        assert recorder.wait_until(
            lambda seen: any(isinstance(s, BiosLine) and s.text.startswith(MARK) for s in seen), 30
        ), "it did not boot after its rest"
    finally:
        pc.close()


@pytest.mark.rig
def test_a_log_that_is_read_late_stands_before_what_came_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a host that has booted and stands still there would have hung without a word."""
    write_boot_disk(tmp_path / "disk", "test")
    recorder = Recorder()
    busy = threading.Event()

    def starved(log: BiosLog) -> None:
        # The socket takes some hundred single bytes: before that QEMU would wait for a reader.
        while not any("Booting from Hard Disk" in str(s) for s in recorder.seen()):
            select.select([log._channel], [], [])
            log.take()
        busy.wait()

    monkeypatch.setattr(BiosLog, "_run", starved)
    pc = Pc("ehci", "seabios", tmp_path / "disk", recorder, tmp_path, cable=False)

    def ended(seen: Sequence[Observation]) -> bool:
        return any(isinstance(s, CpuSample) and s.halted and not s.cs for s in seen)

    try:
        pc.release()
        while not ended(recorder.wait(len(recorder.seen()), 0.05)):
            pc.look(None)
        told = [
            s.text if isinstance(s, BiosLine) else type(s)
            for s in recorder.seen()
            if isinstance(s, BiosLine | Handover | CpuSample)
        ]
        place = told.index(Handover)
        assert told[place - 1] == "Booting from 0000:7c00"
        assert f"{MARK}test" in told[place:-1]
        assert told[-1] is CpuSample
    finally:
        busy.set()
        pc.close()


@pytest.mark.rig
def test_a_host_that_was_about_to_be_reset_when_it_was_stopped_goes_on(tmp_path: Path) -> None:
    """QEMU is in another state then: nobody else would let it run on."""
    write_boot_disk(tmp_path / "disk", "test")
    recorder = Recorder()

    def boots(times: int) -> bool:
        def said(seen: tuple[Observation, ...]) -> bool:
            lines = [s.text for s in seen if isinstance(s, BiosLine)]
            return sum(line.startswith(MARK) for line in lines) == times

        return recorder.wait_until(said, 30) is not None

    pc = Pc("ehci", "seabios", tmp_path / "disk", recorder, tmp_path, cable=False)
    try:
        pc.release()
        # Not sooner: a reset while SeaBIOS moves into RAM finds a BIOS of zeros there.
        assert boots(1)
        pc._qemu.execute("stop")
        pc.reset()
        late = time.monotonic() + 10
        while pc._qemu.execute("query-status")["status"] != "prelaunch":
            assert time.monotonic() < late, "it was not reset"
        pc.look(None)
        assert any(isinstance(s, CpuSample) for s in recorder.seen())
        assert boots(2), "it did not run on"
    finally:
        pc.close()


class DeadPc:
    """A PC that has nothing more to show."""

    def collect(self, folder: Path) -> list[str]:
        return []

    def close(self) -> None:
        pass


def test_what_a_bios_log_holds_is_fit_for_a_terminal(tmp_path: Path) -> None:
    rig = Rig(cast(Any, None), tmp_path, tmp_path)
    rig.host._pc = cast(Any, DeadPc())
    # SeaBIOS logs the strings of INQUIRY as the device gave them (src/hw/blockcmd.c).
    rig.recorder.add(lambda at: BiosLine(at, "USB MSC vendor='\x1b[2J' product='\x9b'"))
    rig.host.collect()
    log = (tmp_path / "bios.log").read_text()
    assert log.endswith("USB MSC vendor='\\x1b[2J' product='\\x9b'\n")
