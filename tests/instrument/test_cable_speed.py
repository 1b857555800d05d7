"""What the cable costs: beside two QEMUs that are joined directly, and by the megabyte."""

from __future__ import annotations

import itertools
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from threading import Thread

import pytest
from cable import CBW_BYTES, fixed_rig
from corpus import SOURCES, case_of

from harness.cable.relay import OWN_HELLO, Relay
from harness.cable.scsi import parse_cbw, read_blocks
from harness.cable.usbredir import (
    BulkPacket,
    DeviceConnect,
    EpInfo,
    Hello,
    InterfaceInfo,
    Packet,
    Side,
    encode,
)
from harness.deadline import Deadline
from harness.firmware import Gate
from harness.host.pc import Pc
from harness.observation import BiosLine, Observation, Recorder, ScsiReply
from harness.outcome.kinds import NEXT_DEVICE, Booted
from harness.outcome.rules import MARK
from harness.qemu import Qemu
from harness.rig import Rig
from images.payload import write_boot_disk

pytestmark = [pytest.mark.rig, pytest.mark.alone]

LIMIT_RATIO = 1.15
TIMES = 9

LIMIT_SLOWER = 4.0
"""Times the processor's time of the least that a relay in Python does with the same bytes. A boot
loader reads 64 KB at once; SeaBIOS has EHCI carry that in transfers of 20 KB at most
(src/hw/usb-ehci.c, ehci_send_pipe), xHCI in one."""
PARTS = 5
"""Times that both are measured, in turns: cores differ in what Python, the kernel and memory cost,
and whoever else is on one takes from either."""
GROWTH = 32 << 20
"""Bytes of memory for its buffers."""
LIMIT_GROWTH = 0.02
"""And for each byte that crossed: the stream has two observations of a command."""
AMOUNT = {"ehci": 300 * 10**6, "xhci": 10**9}
"""Bytes that cross."""


# --- beside none ------------------------------------------------------------------------------


class Joined:
    """Makes the next two QEMUs that have a cable each other's end of it. Ours lead nowhere."""

    def __init__(self) -> None:
        self._ends = list(socket.socketpair())
        self._nowhere: list[socket.socket] = []

    def pair(self, channel: str) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        if channel != "cable":
            return ours, theirs
        self._nowhere.append(theirs)
        return ours, self._ends.pop()

    def close(self) -> None:
        for end in (*self._ends, *self._nowhere):
            end.close()


@dataclass
class Running:
    """A PC that has booted, with a gadget in its port."""

    pc: Pc
    recorder: Recorder
    start: float
    """Seconds from the device's power-on until its gadget was on the bus."""

    def reboot(self) -> float:
        """Press the reset button; seconds until the boot payload speaks."""
        since, begun = len(self.recorder.seen()), self.recorder.now()
        self.pc.reset()
        said = self.booted(since)
        assert any("USB MSC" in line.text for line in said), "the BIOS did not find the drive"
        return said[-1].at - begun

    def booted(self, since: int = 0) -> list[BiosLine]:
        """What the BIOS says until the boot payload speaks."""

        def said(seen: Sequence[Observation]) -> list[BiosLine]:
            return [line for line in seen[since:] if isinstance(line, BiosLine)]

        stream = self.recorder.wait_until(
            lambda seen: any(line.text.startswith(MARK) for line in said(seen)), 30
        )
        assert stream is not None
        return said(stream)


def started(rig: Rig) -> float:
    begun = time.monotonic()
    rig.gadget.start(gate=Gate.EMPTY)
    return time.monotonic() - begun


def relayed(rig: Rig) -> Running:
    start = started(rig)
    assert rig.host.boot("ehci").outcome == Booted(NEXT_DEVICE)
    rig.gadget.hurry(True)
    assert rig.host._pc is not None
    return Running(rig.host._pc, rig.recorder, start)


def direct(rig: Rig, folder: Path, stack: ExitStack, patch: pytest.MonkeyPatch) -> Running:
    joined = stack.enter_context(closing(Joined()))
    patch.setattr(Qemu, "_pair", lambda _, channel: joined.pair(channel))
    start = started(rig)
    recorder, disk = Recorder(), folder / "next-device"
    write_boot_disk(disk, NEXT_DEVICE)
    pc = stack.enter_context(
        closing(Pc("ehci", "seabios", disk, recorder, folder / "scratch", cable=True))
    )
    rig.gadget.hurry(True)
    pc.release()
    running = Running(pc, recorder, start)
    # QEMU says hello when its machine runs: perhaps too late for this boot, in time for the next.
    running.booted()
    return running


def test_a_case_takes_hardly_longer_than_without_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ("relayed", "direct")]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as stack:
        rigs = [stack.enter_context(fixed_rig(folder)) for folder in folders]
        one, other = relayed(rigs[0]), direct(rigs[1], folders[1], stack, monkeypatch)
        times = [(one.reboot(), other.reboot()) for _ in range(TIMES)]
    with_it, without = (median(boots) for boots in zip(*times, strict=True))
    # A case is the device's start, in which the cable has no part, and a boot.
    start = min(one.start, other.start)
    ratio = (start + with_it) / (start + without)
    told = f"a boot takes {with_it:.3f} s with the relay, {without:.3f} s without, {times}"
    print(f"{told}; a case, with {start:.2f} s for the start, {ratio:.3f} times as long")
    assert ratio <= LIMIT_RATIO, told


# --- by the megabyte --------------------------------------------------------------------------

ID, HEADER = 8, 16
"""Where a packet's id begins, behind its type and its length, and where that ends (usbredir 0.7.1,
64-bit ids)."""

Said = tuple[bytes, bytes]
"""What the host says, and what the gadget says to that."""

PEER = """
import socket, sys
sock, path, lengths, first, rounds = socket.socket(fileno=int(sys.argv[1])), *sys.argv[2:]
said, lengths = open(path, "rb").read(), [tuple(map(int, l.split(":"))) for l in lengths.split()]
buffer = bytearray(1 << 20)
def hear(count):
    while count:
        got = sock.recv_into(buffer, min(count, len(buffer)))
        if not got:
            sys.exit("the cable was closed")
        count -= got
for _ in range(int(rounds)):
    at = 0
    for own, others in lengths:
        if first == "yes":
            sock.sendall(said[at : at + own])
        hear(others)
        if first != "yes":
            sock.sendall(said[at : at + own])
        at += own
"""
"""One end, in a process of its own: what it says, and for how many bytes it waits in between."""


@pytest.mark.parametrize("controller", ["ehci", "xhci"])
def test_megabytes_cross_fast_and_leave_no_trace_in_memory(tmp_path: Path, controller: str) -> None:
    described, talk = recorded(tmp_path, controller)
    moved = sum(len(host) + len(gadget) for host, gadget in talk)
    assert moved > 10**7, "the loader reads 10 MB"
    rounds = -(-AMOUNT[controller] // (moved * PARTS))
    recorder = Recorder()
    (gadget, far_gadget), (host, far_host) = socket.socketpair(), socket.socketpair()
    with closing(Relay(far_gadget)) as relay, gadget, host:
        for packet in described:
            gadget.sendall(packet.raw)
        relay.attach(far_host, recorder, tmp_path / "usb.pcapng")
        host.sendall(encode(OWN_HELLO, Side.HOST))
        relay.wait_plugged(Deadline.after(10, "the gadget to cross the cable"))
        # What both have heard so far: each other's hellos, and what the device is.
        gadget.recv(len(encode(OWN_HELLO, Side.HOST)), socket.MSG_WAITALL)
        host.recv(sum(len(packet.raw) for packet in described), socket.MSG_WAITALL)
        grown, slower = resident(), []
        for _ in range(PARTS):
            least = processor_seconds(partial(bare_relay, tmp_path, talk, rounds))
            taken = processor_seconds(partial(converse, host, gadget, tmp_path, talk, rounds))
            assert relay.problem is None
            slower.append(taken / least)
        grown = resident() - grown
    replies = [seen for seen in recorder.seen() if isinstance(seen, ScsiReply)]
    assert len(replies) == PARTS * rounds * len(talk)
    assert {seen.status for seen in replies} == {"passed"}
    crossed = PARTS * rounds * moved
    capture = tmp_path / "usb.pcapng"
    assert capture.stat().st_size > crossed
    capture.unlink()  # a gigabyte
    told = f"{crossed / 1e6:.0f} MB in {len(replies)} commands took "
    told += ", ".join(f"{times:.1f}" for times in slower) + " times what a bare relay takes"
    print(f"{told}; memory grew by {grown / 1e6:.0f} MB")
    assert median(slower) <= LIMIT_SLOWER, told
    assert grown <= GROWTH + LIMIT_GROWTH * crossed


def recorded(folder: Path, controller: str) -> tuple[Sequence[Packet], list[Said]]:
    """What crosses the cable while a boot loader loads 10 MB from the drive, by commands.

    And, first, what the gadget's end says before: its hello, and what its device is.
    """
    case_of(SOURCES / "loads_10mb_boots.asm").write(folder / "loader.img")
    packets: list[tuple[Packet, Side]] = []
    with fixed_rig(folder) as rig:
        rig.gadget.start(gate=Gate.path("/data/loader.img"), media=[folder / "loader.img"])
        relay = rig.gadget.relay
        assert relay is not None
        pass_on = relay.forward

        def forward(packet: Packet, to: Side) -> None:
            pass_on(packet, to)
            packets.append((packet, to.other))

        relay.forward = forward  # type: ignore[method-assign]
        assert rig.host.boot(controller).outcome == Booted(NEXT_DEVICE)
    first = (Hello, EpInfo, InterfaceInfo, DeviceConnect)
    described = [packet for packet, _ in packets if isinstance(packet, first)][: len(first)]
    # The BIOS's and the loader's reads: what was asked before did not all end in "passed".
    begun = next(i for i, (packet, sender) in enumerate(packets) if _reads(packet, sender))
    talk: list[Said] = []
    numbers = itertools.count(1)
    ids: dict[int, bytes] = {}
    for packet, sender in packets[begun:]:
        if not isinstance(packet, BulkPacket):
            continue
        if sender is Side.HOST:
            ids[packet.id] = next(numbers).to_bytes(8, "little")
            if packet.length == CBW_BYTES and not packet.inward:
                talk.append((b"", b""))
        # SeaBIOS asks for one thing after another; a host that asks for a command's data and
        # status together with the command, as others do, has an id for each.
        raw = packet.raw[:ID] + ids[packet.id] + packet.raw[ID + 8 :]
        said, heard = talk.pop()
        talk.append((said + raw, heard) if sender is Side.HOST else (said, heard + raw))
    return described, talk


def _reads(packet: Packet, sender: Side) -> bool:
    if not isinstance(packet, BulkPacket) or sender is not Side.HOST or packet.inward:
        return False
    command = parse_cbw(bytes(packet.data)) if packet.length == CBW_BYTES else None
    return command is not None and read_blocks(command.cdb) is not None


def peer(
    end: socket.socket, path: Path, talk: Sequence[Said], rounds: int
) -> subprocess.Popen[bytes]:
    """Have a process say the first of each pair; it waits for the other one."""
    path.write_bytes(b"".join(own for own, _ in talk))
    lengths = " ".join(f"{len(own)}:{len(others)}" for own, others in talk)
    first = "yes" if path.name == "host" else "no"
    words = (str(end.fileno()), str(path), lengths, first, str(rounds))
    return subprocess.Popen([sys.executable, "-c", PEER, *words], pass_fds=[end.fileno()])


def converse(
    host: socket.socket, gadget: socket.socket, folder: Path, talk: Sequence[Said], rounds: int
) -> None:
    """Have them say all of it, so many times."""
    peers = [
        peer(host, folder / "host", talk, rounds),
        peer(gadget, folder / "gadget", [said[::-1] for said in talk], rounds),
    ]
    assert [p.wait(60) for p in peers] == [0, 0]


def bare_relay(folder: Path, talk: Sequence[Said], rounds: int) -> None:
    """By a relay that looks for where a packet ends, keeps it in a file and passes it on."""
    left = rounds * sum(len(host) + len(gadget) for host, gadget in talk)
    (gadget, far_gadget), (host, far_host) = socket.socketpair(), socket.socketpair()
    ends = {far_host: far_gadget, far_gadget: far_host}
    capture = folder / "capture"
    with gadget, far_gadget, host, far_host, capture.open("wb") as file:

        def carry() -> None:
            nonlocal left
            while left:
                for end in select.select(ends, [], [])[0]:
                    header = end.recv(HEADER, socket.MSG_WAITALL)
                    length = int.from_bytes(header[4:8], "little")
                    packet = header + end.recv(length, socket.MSG_WAITALL)
                    file.write(packet)
                    ends[end].sendall(packet)
                    left -= len(packet)

        thread = Thread(target=carry, daemon=True)
        thread.start()
        converse(host, gadget, folder, talk, rounds)
        thread.join()
    capture.unlink()


def processor_seconds(work: Callable[[], None]) -> float:
    """Seconds of this process's own on the processor, of all its threads."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def resident() -> int:
    """Bytes of memory that this process has (Linux, Documentation/filesystems/proc.rst)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
