"""The host: a PC in QEMU with a legacy BIOS, one USB controller, and a disk to go on to."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.errors import DiskFull, QemuError, RigFault, UsageError
from harness.host import cpu, screen
from harness.host.debugger import Debugger
from harness.host.log import BiosLog
from harness.host.memory import GuestMemory
from harness.host.stick import ID as STICK
from harness.host.stick import Stick
from harness.observation import (
    DiskIo,
    Frozen,
    Handover,
    HostEvent,
    Recorder,
    Screen,
)
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

MEGABYTES = 64

STOPPED = ("paused", "prelaunch")
"""QEMU's states of a machine that QMP stopped. The second when it was just about to be reset: QEMU
resets it then all the same (softmmu/runstate.c, main_loop_should_exit)."""

MENU_MS = 10_000
"""How long the BIOS offers its boot menu, in milliseconds: longer than the gadget VM needs to press
a key beside other load."""

PATIENCE_MS = 300
"""How long a patient BIOS waits for a device at a USB port. SeaBIOS waits for 100 ms (src/hw/usb.c,
usb_time_sigatt). But QEMU shows its host a device that left, and is back, no sooner than 200 ms
after it left (hw/usb/redirect.c, next_attach_time), and while a host stands still its time does,
too: where POST is quicker than that, the host would boot as if the device were gone.
"""

STOP_SECONDS = 5.0
"""How long a machine that finds the command to stop may take for that. It takes microseconds."""

PRESS_SECONDS = 5.0
"""How long a machine may be stopped while a key is to be pressed. It takes milliseconds."""

BOOT_SECTOR = 0x7C00
"""Where every legacy BIOS loads and starts a boot sector."""

TABLES = 0x500
"""Bytes of the interrupt vectors and the BIOS data area, from address 0 on."""


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
        stick: Stick | None = None,
        cdrom: Path | None = None,
        menu: bool = False,
        megabytes: int | None = None,
        exact: bool = False,
        patient: bool = False,
    ) -> None:
        """Start QEMU, stopped before the first instruction.

        `cable` puts a USB port in front of which `self.cable` is the other end, first in the
        boot order, `stick` a drive of QEMU's own; `next_device` is the disk image that comes
        second, `cdrom` one that is in a CD-ROM drive and comes before both;
        with `menu` the BIOS offers its boot menu; `megabytes` of memory, MEGABYTES unless it is
        given. With `exact` the machine can be stopped right
        behind a line of its log, for which it waits with each line until that is read. A `patient`
        BIOS waits at an empty USB port for as long as QEMU may hide what came there. Raises
        QemuError, DiskFull.
        """
        self._recorder = recorder
        self._scratch = scratch
        self._stack = contextlib.ExitStack()
        self._hold = threading.RLock()
        """Held by whoever has the machine stopped."""
        self._still = False
        self._running = threading.Event()
        self._stopped = threading.Event()
        self._pulled = threading.Event()
        self._plugs = 0
        self._brake: socket.socket | None = None
        self._ran, self._since, self._starved, self._powered = 0.0, 0.0, 0.0, 0.0
        megabytes = megabytes or MEGABYTES
        self._memory = self._stack.enter_context(contextlib.closing(GuestMemory(megabytes << 20)))
        arguments = [
            *("-M", "pc", "-m", f"{megabytes}M", "-S", "-vga", "std", *bios_arguments(bios)),
            *self._memory.arguments(),
            *("-gdb", "chardev:gdb"),
            *("-nic", "none", "-boot", f"menu=on,splash-time={MENU_MS}" if menu else "menu=off"),
            *("-device", f"isa-debugcon,iobase={DEBUG_PORT:#x},chardev=debug"),
            *(
                "-blockdev",
                f"file,node-name=file,filename={escaped(next_device)},cache.no-flush=on",
            ),
            *("-blockdev", "raw,node-name=next-device,file=file"),
            *("-device", "ide-hd,drive=next-device,bootindex=2"),
            *("-device", f"{CONTROLLERS[controller]},id=usb"),
        ]
        if patient:
            patience = scratch / "usb-time-sigatt"
            with disk("the scratch folder"):
                patience.write_bytes(PATIENCE_MS.to_bytes(4, "little"))
            arguments += ["-fw_cfg", f"name=etc/usb-time-sigatt,file={escaped(patience)}"]
        if exact:
            arguments += ["-mon", "chardev=brake,mode=readline"]
        if cable:
            arguments += ["-device", "usb-redir,chardev=cable,bus=usb.0,bootindex=1"]
        if cdrom:
            disc = f"file,node-name=disc,filename={escaped(cdrom)},read-only=on"
            arguments += ["-blockdev", disc, "-device", "ide-cd,drive=disc,bus=ide.1,bootindex=0"]
        if stick:
            arguments += stick.arguments()
        try:
            self._qemu = self._stack.enter_context(
                Qemu(
                    "host",
                    arguments,
                    folder=scratch,
                    channels=("debug", "gdb", *["cable"] * cable, *["brake"] * exact),
                    tight=("debug",) if exact else (),
                    inherit=(self._memory.fd,),
                    on_event=self._on_event,
                )
            )
            self._debugger = Debugger(self._qemu.channel("gdb"), BOOT_SECTOR, self._handed_over)
            self._stack.enter_context(contextlib.closing(self._debugger))
            self._log = BiosLog(self._stack.enter_context(self._qemu.channel("debug")), recorder)
            self.cable: socket.socket | None = self._qemu.channel("cable") if cable else None
            if exact:
                self._brake = self._stack.enter_context(self._qemu.channel("brake"))
            self._processor = int(self._qemu.execute("query-cpus-fast")[0]["thread-id"])
        except BaseException:
            self._stack.close()
            raise
        self._io = (0, 0)

    def _on_event(self, name: str, data: dict[str, Any]) -> None:
        if name == "RESUME":
            self._stopped.clear()
            self._running.set()
        elif name == "STOP":
            self._running.clear()
            self._stopped.set()
        elif name == "DEVICE_DELETED" and data.get("device") == STICK:
            self._pulled.set()
        if name in ("RESET", "SHUTDOWN", "GUEST_PANICKED"):
            guest = bool(data.get("guest"))
            self._recorder.add(lambda at: HostEvent(at, name, guest))

    def release(self) -> None:
        """Power on: let the processor run from its reset vector. Raises QemuError."""
        self._recorder.release()
        self._powered = self._qemu.starved(self._processor)
        self._go_on()

    def boot_again(self) -> None:
        """Press the reset button of a PC that has booted: a warm boot. Raises QemuError."""
        self.hold()
        self._debugger.arm()
        self.reset()
        self.let_go()

    def look(self, trim: Callable[[Frozen, Callable[[int], bytes]], Frozen] | None) -> None:
        """Observe processor and next device, and with `trim` all of the processor's state.

        `trim` is given that state and a function for the pages of memory, and returns it with
        those that are needed. Nothing is seen of a host that stands at the breakpoint. Raises
        QemuError, DeadlineExpired.
        """
        with self._hold:
            if self._still:
                return
            self._stop()
            if self._qemu.execute("query-status")["status"] not in STOPPED:
                # The debugger has it, and lets it run on at any moment.
                self._since, self._starved = time.monotonic(), self._qemu.starved()
                return
            seen = cpu.look(self._qemu, self._memory, freeze=trim is not None)
            stats = self._qemu.execute("query-blockstats")
            # What came before the machine was stopped is seen before it, by whoever is late.
            self._log.take()
            disk = next(s["stats"] for s in stats if s.get("node-name") == "next-device")
            io = int(disk["rd_operations"]), int(disk["wr_operations"])
            if io != self._io:
                self._io = io
                self._recorder.add(lambda at: DiskIo(at, *io))
            self._recorder.add(lambda at: seen.sample(at=at))
            before = len(self._recorder.seen())
            if not self._still:
                self._go_on()
        if trim is not None and seen.frozen is not None:
            frozen, page = seen.frozen, seen.page
            whole = trim(frozen(at=0.0), page)
            self._recorder.add_late(lambda at: dataclasses.replace(whole, at=at), before)

    def brake(self) -> None:
        """Let a QEMU that is exact get no processor until `hold`, at once; from any thread."""
        if self._brake is not None:
            self._qemu.process.send_signal(signal.SIGSTOP)

    def hold(self) -> None:
        """Stop the machine and keep it so until `let_go`; from any thread.

        One that is braked finds the command waiting when it goes on, and gets no further than
        to that: its processor's thread has to leave the core to the one that takes the command,
        as soon as that can run. Raises QemuError, DeadlineExpired.
        """
        self._still = True  # whoever looks at it just now leaves it stopped
        if self._brake is not None:
            self._brake.sendall(b"stop\n")
            with self._yielding():
                self._qemu.process.send_signal(signal.SIGCONT)
                self._stopped.wait(STOP_SECONDS)
        with self._hold:
            self._stop()

    @contextlib.contextmanager
    def _yielding(self) -> Iterator[None]:
        """Within, QEMU has one core, and its processor's thread runs only when no other can.

        They share a lock, which goes to whoever asks first (QEMU, softmmu/cpus.c, iothread lock):
        a processor that writes to a port has let go of it and asked again before another thread
        has woken up, dozens of times.
        """
        main, processor = self._qemu.process.pid, self._processor
        cores = os.sched_getaffinity(main)
        with contextlib.suppress(ProcessLookupError):  # one that has gone goes no further either
            for thread in (main, processor):
                os.sched_setaffinity(thread, {min(cores)})
            os.sched_setscheduler(processor, os.SCHED_IDLE, os.sched_param(0))
            # Beside other load on that core the one that is idle can come first, for a tick.
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(main, os.SCHED_FIFO, os.sched_param(1))
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                for thread in (main, processor):
                    os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
                    os.sched_setaffinity(thread, cores)

    def let_go(self) -> None:
        """Undo `hold`. Does nothing to a machine that is not held."""
        with self._hold:
            if self._still:
                self._still = False
                self._go_on()

    def _stop(self) -> None:
        self._qemu.execute("stop")
        self._ran = self.ran
        self._since = 0.0

    def _go_on(self) -> None:
        self._since, self._starved = time.monotonic(), self._qemu.starved()
        self._qemu.execute("cont")

    @property
    def ran(self) -> float:
        """Seconds in which the processor ran or waited for its own interrupts.

        Neither those in which it was stopped, nor those in which this machine had no core for
        it: beside other load a host gets the time that it needs.
        """
        if not self._since:
            return self._ran
        went_by = time.monotonic() - self._since
        return self._ran + max(0.0, went_by - max(0.0, self._qemu.starved() - self._starved))

    @property
    def starved(self) -> float:
        """Seconds since `release` in which its processor could run and this machine had no core."""
        return max(0.0, self._qemu.starved(self._processor) - self._powered)

    def _handed_over(self) -> None:
        """The debugger: the machine is stopped at the boot sector's first instruction."""
        with self._hold:
            drive = cpu.registers(self._qemu.monitor("info registers"))["EDX"] & 0xFF
            sector, tables = self._memory.read(BOOT_SECTOR, 512), self._memory.read(0, TABLES)
            self._log.take()
            self._recorder.add(lambda at: Handover(at, drive, sector, tables))
            self._since, self._starved = time.monotonic(), self._qemu.starved()

    def press(self, *keys: str) -> None:
        """Press keys of the PS/2 keyboard together, and let go of them.

        By QEMU's names for them (QKeyCode). A machine that is stopped just now takes no key: it
        is waited for. Raises QemuError, DeadlineExpired.
        """
        deadline = Deadline.after(PRESS_SECONDS, "the host to run, so that it takes a key")
        events = [
            {"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": key}}}
            for down in (True, False)
            for key in keys
        ]
        while True:
            self._running.wait(deadline.remaining())
            try:
                self._qemu.execute("input-send-event", {"events": events})
            except QemuError as error:
                # QEMU, ui/input.c, qmp_input_send_event: "VM not running". All or nothing.
                if "not running" not in str(error) or deadline.expired:
                    raise
            else:
                return

    def reset(self) -> None:
        """Press the reset button. Raises QemuError, DeadlineExpired."""
        self._qemu.execute("system_reset")

    def pull(self) -> None:
        """Unplug QEMU's own drive. Raises QemuError, DeadlineExpired."""
        self._pulled.clear()
        self._qemu.execute("device_del", {"id": STICK})
        deadline = Deadline.after(PRESS_SECONDS, "QEMU to take its own drive away")
        if not self._pulled.wait(deadline.remaining()):
            raise deadline.failure()

    def plug(self, drive: Stick) -> None:
        """Plug a drive of QEMU's own in, where there is none. Raises QemuError, DeadlineExpired."""
        self._plugs += 1
        drive.plug(self._qemu, self._plugs)

    def show(self) -> None:
        """Observe the screen. Raises QemuError, DeadlineExpired, DiskFull."""
        shown, picture = screen.text(self._qemu), screen.digest(self._qemu, self._scratch)
        self._recorder.add(lambda at: Screen(at, shown, picture))

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
            with self._hold:
                self._stop()
            shown = screen.text(self._qemu)
            self._recorder.add(lambda at: Screen(at, shown, ""))
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
        self._log.join(5)
        self._stack.close()
