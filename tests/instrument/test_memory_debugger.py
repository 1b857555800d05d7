"""The host's memory that is shared with its QEMU, and the breakpoint at the boot sector."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import QemuError
from harness.host.debugger import Debugger
from harness.host.memory import GuestMemory
from harness.host.pc import BOOT_SECTOR, TABLES, Pc
from harness.observation import PAGE, BiosLine, Handover, Observation, Recorder
from harness.outcome.rules import MARK
from images.payload import write_boot_disk

SIZE = 1 << 20

# --- memory -----------------------------------------------------------------------------------


def test_memory_is_read_as_it_is_now() -> None:
    memory = GuestMemory(SIZE)
    try:
        assert memory.read(0x7C00, 4) == bytes(4)
        os.pwrite(memory.fd, b"\x01\x02", 0x7C01)
        assert memory.read(0x7C00, 4) == b"\x00\x01\x02\x00"
        assert os.fstat(memory.fd).st_size == SIZE
    finally:
        memory.close()


def test_there_is_nothing_outside_of_memory() -> None:
    memory = GuestMemory(SIZE)
    try:
        assert memory.read(SIZE - 2, 16) == bytes(2)
        assert memory.read(SIZE, 16) == b""
        assert memory.read(-1, 16) == b"", "not from its end"
        assert memory.read(1 << 63, 16) == b""
    finally:
        memory.close()


@pytest.mark.parametrize("end", [PAGE, 0x9001, SIZE - 1, SIZE, SIZE + PAGE])
def test_a_copy_is_all_of_memory_and_stays_as_it_was(end: int) -> None:
    memory = GuestMemory(SIZE)
    try:
        for address in (0, 0x8FFE, 0x20000, SIZE - 3):
            os.pwrite(memory.fd, b"\x01\x02\x03", address)
        held = memory.read(0, end)
        copy = memory.copy(end)
        os.pwrite(memory.fd, b"\xff" * 16, 0)
        assert copy[:] == held
    finally:
        memory.close()


def test_a_copy_fills_no_hole() -> None:
    memory = GuestMemory(SIZE)
    try:
        os.pwrite(memory.fd, b"\x01", 0x5000)
        assert memory.copy(SIZE)[0x5000] == 1
        assert os.fstat(memory.fd).st_blocks * 512 == PAGE
    finally:
        memory.close()


def test_memory_goes_away() -> None:
    memory = GuestMemory(SIZE)
    fd = memory.fd
    memory.close()
    memory.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


# --- the debugger, against a stub that is played ----------------------------------------------


class Stub:
    """Plays QEMU's gdb stub: what it hears it keeps, and it says what the test wants."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.theirs.settimeout(10)
        self.met = threading.Event()
        self.may_go_on = threading.Event()

    def heard(self, count: int) -> str:
        """The next `count` bytes that it is sent."""
        data = b""
        while len(data) < count:
            data += self.theirs.recv(count - len(data))
        return data.decode()

    def says(self, data: str, ack: str = "+") -> None:
        self.theirs.sendall(f"{ack}${data}#{sum(data.encode()) & 0xFF:02x}".encode())

    def silent(self) -> bool:
        """Whether it is sent nothing for a while: every byte would stop the machine."""
        self.theirs.settimeout(0.1)
        try:
            return not self.theirs.recv(1)
        except TimeoutError:
            return True
        finally:
            self.theirs.settimeout(10)

    def on_met(self) -> None:
        self.met.set()
        assert self.may_go_on.wait(10)

    def debugger(self) -> Debugger:
        self.says("OK")
        debugger = Debugger(self.ours, 0x7C00, self.on_met)
        assert self.heard(14) == "$Z1,7c00,1#0e+"
        return debugger


SET, CLEAR, GO_ON = "$Z1,7c00,1#0e", "$z1,7c00,1#2e", "$c#63"


@pytest.fixture
def stub() -> Iterator[Stub]:
    played = Stub()
    yield played
    played.may_go_on.set()
    played.theirs.close()


def test_the_packets_have_the_right_checksums() -> None:
    for packet in (SET, CLEAR, GO_ON):
        data, _, checksum = packet[1:].partition("#")
        assert sum(data.encode()) & 0xFF == int(checksum, 16)


def test_it_sets_the_breakpoint_and_is_silent_then(stub: Stub) -> None:
    debugger = stub.debugger()
    assert stub.silent()
    assert not stub.met.is_set()
    debugger.close()


def test_stops_that_others_bring_about_are_not_answered(stub: Stub) -> None:
    debugger = stub.debugger()
    for _ in range(3):
        stub.says("T02thread:01;", ack="")
    assert stub.silent()
    assert not stub.met.is_set()
    debugger.close()


def test_it_lets_the_machine_run_on_once_the_breakpoint_was_met(stub: Stub) -> None:
    debugger = stub.debugger()
    stub.says("T02thread:01;", ack="")
    stub.says("T05thread:01;", ack="")
    assert stub.met.wait(10)
    assert stub.heard(1) == "+"
    assert stub.silent(), "it waits for `met`"
    stub.may_go_on.set()
    assert stub.heard(len(CLEAR)) == CLEAR
    stub.says("OK")
    assert stub.heard(1 + len(GO_ON)) == "+" + GO_ON
    stub.says("T05thread:01;")
    assert stub.silent(), "it is met once"
    debugger.close()


def test_it_is_met_once_more_when_it_is_armed_again(stub: Stub) -> None:
    debugger = stub.debugger()
    debugger.arm()
    assert stub.silent(), "it is armed already"
    stub.may_go_on.set()
    stub.says("T05thread:01;", ack="")
    assert stub.heard(1 + len(CLEAR)) == "+" + CLEAR
    stub.says("OK")
    assert stub.heard(1 + len(GO_ON)) == "+" + GO_ON
    stub.met.clear()
    arming = threading.Thread(target=debugger.arm)
    arming.start()
    assert stub.heard(len(SET)) == SET
    stub.says("T02thread:01;", ack="")
    stub.says("OK")
    arming.join(10)
    assert stub.heard(1) == "+"
    stub.says("T05thread:01;", ack="")
    assert stub.met.wait(10)
    debugger.close()


def test_a_stub_that_does_not_arm_again_is_an_error(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    debugger = stub.debugger()
    monkeypatch.setattr("harness.host.debugger.ANSWER_SECONDS", 0.1)
    debugger._armed = False
    with pytest.raises(QemuError, match="said nothing"):
        debugger.arm()
    debugger.close()


def test_packets_may_come_in_pieces(stub: Stub) -> None:
    debugger = stub.debugger()
    for byte in "$T05thread:01;#07":
        stub.theirs.sendall(byte.encode())
        time.sleep(0.001)
    assert stub.met.wait(10)
    debugger_thread = debugger._thread
    stub.may_go_on.set()
    debugger.close()
    assert not debugger_thread.is_alive()


@pytest.mark.parametrize("answer", ["", "E22"])
def test_a_stub_that_refuses_is_an_error(stub: Stub, answer: str) -> None:
    stub.says(answer) if answer else stub.theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(QemuError, match="gdb stub answered"):
        Debugger(stub.ours, 0x7C00, stub.on_met)


def test_a_stub_that_goes_away_ends_it(stub: Stub) -> None:
    debugger = stub.debugger()
    stub.theirs.shutdown(socket.SHUT_RDWR)
    debugger._thread.join(10)
    assert not debugger._thread.is_alive()
    assert not stub.met.is_set()
    debugger.close()
    debugger.close()


def test_closing_it_ends_its_thread(stub: Stub) -> None:
    debugger = stub.debugger()
    debugger.close()
    assert not debugger._thread.is_alive()


# --- and against QEMU's -----------------------------------------------------------------------


def handovers(seen: tuple[Observation, ...]) -> list[Handover]:
    return [o for o in seen if isinstance(o, Handover)]


@pytest.mark.rig
def test_a_pc_hands_over_its_boot_disk_and_runs_on(tmp_path: Path) -> None:
    write_boot_disk(tmp_path / "disk", "test")
    sector = (tmp_path / "disk").read_bytes()[:512]
    recorder = Recorder()
    pc = Pc("ehci", "seabios", tmp_path / "disk", recorder, tmp_path, cable=False)
    try:
        pc.release()
        late = time.monotonic() + 30
        while not any(isinstance(o, BiosLine) and o.text.startswith(MARK) for o in recorder.seen()):
            assert time.monotonic() < late, "it did not boot"
            pc.look(None)  # however often it is stopped meanwhile
        (handed,) = handovers(recorder.seen())
        assert handed.drive == 0x80
        assert handed.sector == sector
        assert len(handed.tables) == TABLES
        assert handed.tables[0x10 * 4 + 3] & 0xC0 == 0xC0, "INT 10h is in a ROM"
        assert handed.tables[0x413:0x415] == (639).to_bytes(2, "little"), "kilobytes of memory"
        words = [o.text if isinstance(o, BiosLine) else type(o).__name__ for o in recorder.seen()]
        at = words.index("Handover")
        assert any(w.startswith("Booting from") for w in words[:at])
        assert any(w.startswith(MARK) for w in words[at:])
        assert pc._memory.read(BOOT_SECTOR, 512) == sector
        pc.reset()
        assert recorder.wait_until(
            lambda seen: sum(isinstance(o, BiosLine) and o.text.startswith(MARK) for o in seen) > 1,
            30,
        ), "it does not boot again"
        assert len(handovers(recorder.seen())) == 1, "the breakpoint is met once"
        pc.boot_again()
        assert recorder.wait_until(lambda seen: len(handovers(seen)) > 1, 30), "it is not met again"
        assert handovers(recorder.seen())[1].sector == sector
    finally:
        pc.close()
