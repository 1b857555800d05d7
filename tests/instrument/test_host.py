"""The host: register dumps, the text screen, its BIOS and its log."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from harness.errors import QemuError, UsageError
from harness.host import cpu, screen
from harness.host.cpu import Registers, registers
from harness.host.pc import BIOS_LINE_LIMIT, BIOSES, CONTROLLERS, Pc, bios_arguments, check_bios
from harness.observation import BiosLine, CpuSample, HostEvent, Recorder
from harness.outcome.rules import MARK
from harness.owner import find_tool
from harness.qemu import PACKAGE, PROGRAM, Qemu, _Loop
from harness.rig import Rig
from images.payload import write_boot_disk

# --- registers: lines as QEMU prints them (target/i386/cpu-dump.c) ---------------------------

RESET_VECTOR = """
CPU#0
EAX=00000000 EBX=00000000 ECX=00000000 EDX=00060fb1
ESI=00000000 EDI=00000000 EBP=00000000 ESP=00000000
EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0
ES =0000 00000000 0000ffff 00009300
CS =f000 ffff0000 0000ffff 00009b00
SS =0000 00000000 0000ffff 00009300
GDT=     00000000 0000ffff
CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000
EFER=0000000000000000
"""

REAL_MODE = """
CPU#0
ESI=00000000 EDI=00000000 EBP=00000000 ESP=abcd6f00
EIP=00007c10 EFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
CS =0100 00001000 0000ffff 00009b00
SS =9000 00090000 0000ffff 00009300
CR0=00000010 CR2=00000000 CR3=00000000 CR4=00000000
"""

PROTECTED = """
CPU#0
ESI=00000000 EDI=00000000 EBP=00000000 ESP=00106f00
EIP=000f1234 EFL=00000006 [-----P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
CS =0008 00000000 ffffffff 00c09b00 DPL=0 CS32 [-RA]
SS =0010 00000000 ffffffff 00c09300 DPL=0 DS   [-WA]
CR0=00000011 CR2=00000000 CR3=00000000 CR4=00000000
"""

LONG_MODE = """
CPU#0
RSI=0000000000000000 RDI=0000000000000000 RBP=ffffffff82803e70 RSP=ffffffff82803e58
R8 =0000000000000000 R9 =0000000000000000 R10=0000000000000000 R11=0000000000000000
RIP=ffffffff81c0b2aa RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]
SS =0018 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
CR0=80050033 CR2=00007ffc0c9d7ff8 CR3=0000000001a0a000 CR4=000006f0
"""


@pytest.mark.parametrize(
    ("dump", "expected"),
    [
        (RESET_VECTOR, Registers(0xF000, 0xFFF0, 0xFFFFFFF0, 0x2, False, True, 0)),
        # In real mode only SP counts, whatever is in the upper half of ESP.
        (REAL_MODE, Registers(0x100, 0x7C10, 0x8C10, 0x246, True, True, 0x96F00)),
        (PROTECTED, Registers(0x8, 0xF1234, 0xF1234, 0x6, False, False, 0x106F00)),
        (
            LONG_MODE,
            Registers(
                0x10,
                0xFFFFFFFF81C0B2AA,
                0xFFFFFFFF81C0B2AA,
                0x246,
                True,
                False,
                0xFFFFFFFF82803E58,
            ),
        ),
    ],
    ids=["reset vector", "real mode", "protected mode", "long mode"],
)
def test_registers_in_each_mode(dump: str, expected: Registers) -> None:
    assert registers(dump) == expected
    assert registers(dump.replace("\n", "\r\n")) == expected, "as the monitor ends its lines"


@pytest.mark.parametrize("word", ["EIP", "EFL", "HLT", "CS ", "SS ", "CR0", "ESP"])
def test_a_dump_that_lacks_something_is_an_error(word: str) -> None:
    with pytest.raises(QemuError, match="register dump"):
        registers(REAL_MODE.replace(f"{word}=", "???="))


class _Monitor:
    """Plays a stopped host: memory by address, one dump of its registers."""

    def __init__(self, dump: str, memory: dict[int, str]) -> None:
        self.dump, self.memory, self.said = dump, memory, list[str]()

    def monitor(self, command: str) -> str:
        if command == "info registers":
            return self.dump
        kind, _, address = command.split()
        assert kind in ("x", "xp")
        return self.memory.get(int(address, 16), "Cannot access memory")

    def execute(self, command: str, arguments: object = None) -> Any:
        self.said.append(command)
        return [
            {"node-name": "other", "stats": {"rd_operations": 9, "wr_operations": 9}},
            {"node-name": "next-device", "stats": {"rd_operations": 3, "wr_operations": 1}},
        ]


def test_a_sample_is_taken_while_the_host_stands_still() -> None:
    code = "0000000000008c10: 0xf4 0xeb 0xfd 0x00 0x00 0x00 0x00 0x00\r\n"
    rest = "0000000000008c18: 0x01 0x02 0x03 0x04 0x05 0x06 0x07 0x08\r\n"
    stack = "0000000000096f00: 0x34 0x12 0x00 0xf0 0x46 0x02\r\n"
    host = _Monitor(REAL_MODE, {0x8C10: code + rest, 0x96F00: stack})
    observed, io = cpu.sample(cast(Qemu, host))
    assert observed(1.5) == CpuSample(
        *(1.5, 0x100, 0x7C10, 0x8C10, 0x246, True, True),
        code=b"\xf4\xeb\xfd\0\0\0\0\0\1\2\3\4\5\6\7\x08",
        stack=b"\x34\x12\x00\xf0\x46\x02",
    )
    assert io == (3, 1)
    assert host.said == ["stop", "query-blockstats", "cont"]


def test_memory_that_cannot_be_read_is_left_out() -> None:
    observed, _ = cpu.sample(cast(Qemu, _Monitor(REAL_MODE, {})))
    assert observed(0.0).code == observed(0.0).stack == b""


def test_the_text_screen() -> None:
    shown = ["SeaBIOS", "", "  Booting\x01\xff from Hard Disk..."] + [""] * 22
    cells = [0x0700 | c for line in shown for c in line.ljust(80).encode("latin-1")]
    dump = "".join(
        f"{0xB8000 + i * 2:016x}:" + "".join(f" {c:#06x}" for c in cells[i : i + 8]) + "\r\n"
        for i in range(0, len(cells), 8)
    )
    host = _Monitor("", {0xB8000: dump})
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
    pc = Pc.__new__(Pc)
    pc._recorder = Recorder()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = threading.Thread(target=pc._read_debug, args=(ours,), daemon=True)
        reader.start()
        for piece in pieces:
            theirs.sendall(piece)
        theirs.shutdown(socket.SHUT_WR)
        reader.join(10)
        assert not reader.is_alive()
    return [o.text for o in pc._recorder.seen() if isinstance(o, BiosLine)]


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
    lines = log_of(b"x" * (3 * BIOS_LINE_LIMIT), b"\nnext\n")
    assert max(map(len, lines)) <= BIOS_LINE_LIMIT
    assert len(lines) > 2, "it was kept in memory until its end"
    assert lines[-1] == "next"


def test_events_that_count() -> None:
    pc = Pc.__new__(Pc)
    pc._recorder = Recorder()
    pc._on_event("STOP", {})
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
