"""The host: a PC in QEMU with a legacy BIOS, one USB controller, and a disk to go on to."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import DiskFull, QemuError, RigFault, UsageError
from harness.host import cpu, screen
from harness.observation import BiosLine, DiskIo, HostEvent, Recorder, Screen
from harness.owner import disk, printable
from harness.qemu import Qemu, escaped
from images.rom import ROMS, option_rom

CONTROLLERS = {
    "uhci": "piix3-usb-uhci",
    "ohci": "pci-ohci",
    "ehci": "usb-ehci",
    "xhci": "qemu-xhci",
}
"""USB host controllers by the names used everywhere, and QEMU's devices for them."""

DEFAULT_BIOS = "seabios"

BIOSES = (DEFAULT_BIOS, *ROMS)
"""BIOSes known by name: QEMU's SeaBIOS as it is, and with an option ROM that takes over INT 19h."""

DEBUG_PORT = 0x402
"""Where SeaBIOS writes its log (SeaBIOS, src/hw/serialio.c) and our payloads their line."""

BIOS_LINE_LIMIT = 4096
"""A debug line is cut after so many bytes, whoever prints without an end."""

MEGABYTES = 64


def check_bios(bios: str) -> None:
    """Raise UsageError unless `bios` is a name of `BIOSES` or a file that can be a BIOS."""
    if bios in BIOSES:
        return
    path, shown = Path(bios), printable(bios, 100) or "''"
    try:
        if not path.is_file():
            raise UsageError(
                f"--bios {shown}: neither a BIOS known by name ({', '.join(BIOSES)}) nor a file"
            )
        with path.open("rb") as file:
            file.read(1)
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"--bios {shown}: cannot be read: {error.strerror}") from error
    # QEMU, hw/i386/x86.c, x86_bios_rom_init: a multiple of 64 KiB, mapped below 4 GiB.
    if size == 0 or size % 65536 or size > 16 << 20:
        raise UsageError(f"--bios {shown}: {size} bytes are no BIOS image (a multiple of 64 KiB)")


def bios_arguments(bios: str) -> tuple[str, ...]:
    """QEMU's arguments for a BIOS: a name of `BIOSES`, or a BIOS image file.

    Raises UsageError when the file cannot be a BIOS; ToolError, DiskFull, RigFault when an
    option ROM cannot be made.
    """
    check_bios(bios)
    if bios in ROMS:
        return ("-option-rom", escaped(option_rom(bios)))
    if bios in BIOSES:
        return ()
    return ("-bios", str(Path(bios).absolute()))


class Pc:
    """One boot of the host, from power-on. `close` it."""

    def __init__(
        self,
        controller: str,
        bios: str,
        next_device: Path,
        recorder: Recorder,
        scratch: Path,
        *,
        cable: bool,
    ) -> None:
        """Start QEMU, stopped before the first instruction.

        `cable` puts a USB port in front of which `self.cable` is the other end, first in the
        boot order; `next_device` is the disk image that comes second. Raises QemuError.
        """
        self._recorder = recorder
        self._stack = contextlib.ExitStack()
        arguments = [
            *("-M", "pc", "-m", f"{MEGABYTES}M", "-S", "-vga", "std", *bios_arguments(bios)),
            *("-nic", "none", "-boot", "menu=off"),
            *("-device", f"isa-debugcon,iobase={DEBUG_PORT:#x},chardev=debug"),
            *(
                "-blockdev",
                f"file,node-name=file,filename={escaped(next_device)},cache.no-flush=on",
            ),
            *("-blockdev", "raw,node-name=next-device,file=file"),
            *("-device", "ide-hd,drive=next-device,bootindex=1"),
            *("-device", f"{CONTROLLERS[controller]},id=usb"),
        ]
        if cable:
            arguments += ["-device", "usb-redir,chardev=cable,bus=usb.0,bootindex=0"]
        try:
            self._qemu = self._stack.enter_context(
                Qemu(
                    "host",
                    arguments,
                    folder=scratch,
                    channels=("debug", "cable") if cable else ("debug",),
                    on_event=self._on_event,
                )
            )
            debug = self._stack.enter_context(self._qemu.channel("debug"))
            self.cable: socket.socket | None = self._qemu.channel("cable") if cable else None
        except BaseException:
            self._stack.close()
            raise
        self._reader = threading.Thread(
            target=self._read_debug, args=(debug,), name="bios log", daemon=True
        )
        self._reader.start()
        self._io = (0, 0)

    def _on_event(self, name: str, data: dict[str, Any]) -> None:
        if name in ("RESET", "SHUTDOWN", "GUEST_PANICKED"):
            guest = bool(data.get("guest"))
            self._recorder.add(lambda at: HostEvent(at, name, guest))

    def _read_debug(self, channel: socket.socket) -> None:
        pending = b""
        while data := _receive(channel):
            *lines, pending = (pending + data).split(b"\n")
            if len(pending) > BIOS_LINE_LIMIT:
                lines, pending = [*lines, pending], b""
            for line in lines:
                self._add_line(line)
        if pending:
            self._add_line(pending)

    def _add_line(self, line: bytes) -> None:
        text = line[:BIOS_LINE_LIMIT].decode("ascii", errors="backslashreplace").rstrip("\r")
        self._recorder.add(lambda at: BiosLine(at, text))

    def release(self) -> None:
        """Power on: let the processor run from its reset vector. Raises QemuError."""
        self._recorder.release()
        self._qemu.execute("cont")

    def look(self) -> None:
        """Observe processor and next device. Raises QemuError, DeadlineExpired."""
        observed, io = cpu.sample(self._qemu)
        if io != self._io:
            self._io = io
            self._recorder.add(lambda at: DiskIo(at, *io))
        self._recorder.add(observed)

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Within, the host's QEMU gets no processor; the guest's clocks run on.

        To the guest it is a machine beside other load. Only for a guest that waits for its
        clock; one that counts instructions would take longer.
        """
        self._qemu.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._qemu.process.send_signal(signal.SIGCONT)

    def collect(self, evidence: Path) -> Iterator[str]:
        """Write screen and registers into `evidence`; yields the files' names.

        Raises DiskFull. A QEMU that is gone leaves nothing to collect.
        """
        try:
            self._qemu.execute("stop")
            shown = screen.text(self._qemu)
            self._recorder.add(lambda at: Screen(at, shown))
            dump = self._qemu.monitor("info registers")
            with disk("the evidence"):
                (evidence / "screen.txt").write_text(shown + "\n", encoding="ascii")
                (evidence / "registers.txt").write_text(dump, encoding="utf-8")
            yield "screen.txt"
            yield "registers.txt"
            screen.picture(self._qemu, evidence / "screen.png")
            yield "screen.png"
        except DiskFull:
            raise
        except (QemuError, RigFault):
            return

    def close(self) -> None:
        """Switch it off; its whole log is in the stream then. May be called twice."""
        self._qemu.close()
        self._reader.join(timeout=5)
        self._stack.close()


def _receive(channel: socket.socket) -> bytes:
    try:
        return channel.recv(4096)
    except OSError:
        return b""
