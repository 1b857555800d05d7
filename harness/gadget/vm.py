"""The gadget as a virtual machine: restored, given a firmware and an eMMC, plugged in."""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.console import Answer, Console
from harness.deadline import Deadline
from harness.errors import (
    TOO_BUSY,
    BootgateError,
    ConsoleError,
    DeadlineExpired,
    EndpointCollision,
    FirmwareFault,
    QemuError,
    RigFault,
    ShellEnded,
)
from harness.gadget.descriptors import collisions
from harness.gadget.snapshot import (
    CHANNELS,
    SHELL_BEGINS,
    Migration,
    Snapshot,
    console_device,
    machine,
)
from harness.owner import disk, escaped_lines, printable
from harness.qemu import Qemu

SCRIPT_SECONDS = 20
"""How long the device's init script may take, in the VM's time. A real one takes half of one."""

STARVED_PART = 0.6
"""A VM that had no processor for more than this part of the time says nothing of the firmware.
One that loops wants all there is, and gets half of it beside other cases."""

PLUG_SECONDS = 60.0
"""How long a bound gadget may take to be on the bus: 1 s, and far more beside other load."""

SETTLE_SECONDS = 4.0
"""How long after its init script a device may still be putting its gadget together."""

LIFE_SECONDS = 5.0
"""How long a shell that is asked whether it lives may take."""

END_SECONDS = 2.0
"""How long a QEMU whose guest switched itself off may take to end; it takes milliseconds."""

SHELL_SECONDS = 30.0
"""How long the rig's own commands may take in the VM; they take a fraction of one."""

COPY_SECONDS = 180.0
"""How long it may take to copy media to /data, or to write a file out; a minute beside other load.
"""

TAKEN_SECONDS = 2.0
"""How long the host may take to fetch a key report. One that polls does so every few
milliseconds (bInterval of f_hid: 4 frames or 8 microframes), and far later beside other load."""

CTRL_ALT_DEL = bytes((0x05, 0, 0x4C, 0, 0, 0, 0, 0))
"""A boot keyboard's report (HID 1.11, B.1): left Ctrl and left Alt among the modifiers (8.3),
one key, Delete Forward (HID Usage Tables 1.12, table 12: 4Ch)."""

ESCAPE = bytes((0, 0, 0x29, 0, 0, 0, 0, 0))
DIGIT_1 = bytes((0, 0, 0x1E, 0, 0, 0, 0, 0))
"""The same table: Escape, and 1 above the letters."""

NO_KEYS = bytes(8)
"""The report of a keyboard of which no key is down."""

GONE = 44
"""The status of a command of the rig's that does not find what it is about."""

_FIRST_LUN = "/sys/kernel/config/usb_gadget/*/configs/*/*/lun.0"
"""The shell expands no patterns behind ">"."""

KEYBOARD = "/dev/hidg0"
"""The first HID function's device: on every device that is known here, the keyboard."""


@dataclass(frozen=True)
class Lun:
    """A LUN of the gadget's configuration, and what backs it.

    `backing` begins with what lun.N/file holds and is followed through links, loop and dm to
    the end: "block:MAJOR:MINOR:NAME", "file", or "unknown" where the name leads to neither
    (any more). It is empty for an empty drive. `read_only` and `cdrom` are its attributes
    (Documentation/ABI/testing/configfs-usb-gadget-mass-storage).
    """

    name: str
    backing: tuple[str, ...]
    read_only: bool = False
    cdrom: bool = False

    @property
    def file(self) -> str:
        """What lun.N/file holds; "" for an empty drive."""
        return self.backing[0] if self.backing else ""


@dataclass(frozen=True)
class Configfs:
    """What configfs says of the gadget; `udc` is empty while it is not bound."""

    udc: str
    functions: tuple[str, ...]
    luns: tuple[Lun, ...]


@dataclass(frozen=True)
class ScriptRun:
    """How the firmware's init script ended: its status, or None when it had to be killed."""

    status: int | None
    output: str

    def __str__(self) -> str:
        """One clause for a message."""
        if self.status is None:
            return f"its init script had not ended after {SCRIPT_SECONDS} s"
        said = self.output.strip().splitlines()
        last = f", its last words: {printable(said[-1], 100)}" if said else " and printed nothing"
        return f"its init script ended with status {self.status}{last}"


_MARK = "echo change >/sys/devices/virtual/mem/null/uevent"
"""An event that means nothing to anybody but images/gadget_vm/plug, which says "bound" to it."""


def _type(report: bytes) -> str:
    """A shell command that puts a report into the keyboard, or fails."""
    octal = "".join(f"\\{byte:03o}" for byte in report)
    return f"timeout {TAKEN_SECONDS:g} sh -c \"printf '{octal}' >{KEYBOARD}\""


@dataclass(frozen=True)
class _Plugged:
    """A device on the cable: which binding it came of, and its descriptors."""

    bound: str
    descriptors: bytes

    @classmethod
    def read(cls, words: list[str]) -> _Plugged | None:
        """None if it left before its descriptors could be read."""
        return cls(words[0], bytes.fromhex(words[1])) if len(words) == 2 else None


class Starving:
    """Whether a device can be blamed for what it has not done since then."""

    def __init__(self, vm: GadgetVm) -> None:
        """Of the device in `vm`, from now on."""
        self._vm, self._before = vm, vm.starved

    def check(self, undone: str, seconds: float) -> None:
        """Raise RigFault when of these `seconds` it had too few for what is `undone`."""
        starved = self._vm.starved - self._before
        if starved > seconds * STARVED_PART:
            raise RigFault(f"{undone}, but for {starved:.0f} s the VM had no processor: {TOO_BUSY}")


class GadgetVm:
    """One life of the device: from power-on to the end of a case. `close` it."""

    def __init__(self, snapshot: Snapshot, emmc: Path, scratch: Path, evidence: Path) -> None:
        """Restore the VM with `emmc` as its disk.

        `scratch` is a private folder, logs go to `evidence`. Raises QemuError and its like.
        """
        self.evidence = evidence
        self.logs = ("gadget-console.log", "gadget-dmesg.log")
        """What is written into that folder while it runs."""
        self._migration = Migration()
        self._died: str | None = None
        self.served = False
        """Whether its own server was started."""
        self.on_left: Callable[[], None] = lambda: None
        """Called, from another thread, when the gadget has left the cable."""
        self._plugs = threading.Condition()
        self._plugged: _Plugged | None = None
        self._bound: str | None = None
        self._hurried = False
        self._stack = contextlib.ExitStack()
        try:
            self._restore(snapshot, emmc, scratch)
        except BaseException:
            self.close()
            raise

    def _restore(self, snapshot: Snapshot, emmc: Path, scratch: Path) -> None:
        with disk("the gadget VM's snapshot"):
            state = self._stack.enter_context(snapshot.state.open("rb"))
        # What dmesg prints, written down by the kernel itself, to its last word: all since the
        # snapshot; what came before is with the snapshot in the cache.
        kernel_log = self.evidence / "gadget-dmesg.log"
        arguments = machine(snapshot.image, snapshot.udc, snapshot.memory, emmc, kernel_log)
        self._qemu = self._stack.enter_context(
            Qemu(
                "gadget",
                (*arguments, "-incoming", "defer"),
                folder=scratch,
                channels=CHANNELS,
                on_event=self._on_event,
            )
        )
        self.cable: socket.socket = self._qemu.channel("cable")
        self._pace = self._stack.enter_context(self._qemu.channel("pace"))
        plug = self._qemu.channel("plug")
        reader = threading.Thread(target=self._read_plug, args=(plug,), name="plug", daemon=True)
        reader.start()
        self._console = Console(
            console_device(self._qemu),
            self.evidence / "gadget-console.log",
            anew=SHELL_BEGINS,
            check=self._check_halted,
        )
        self._stack.callback(self._console.close)
        self._qemu.execute("x-exit-preconfig")
        deadline = Deadline.after(SHELL_SECONDS, "the gadget VM to come back from its snapshot")
        self._migration.run(self._qemu, "migrate-incoming", state.fileno(), deadline)
        self._qemu.execute("cont")

    def _on_event(self, name: str, data: dict[str, Any]) -> None:
        self._migration.on_event(name, data)
        if name == "SHUTDOWN" and data.get("guest"):
            reason = str(data.get("reason", ""))
            self._died = "restarted" if reason == "guest-reset" else "switched itself off"

    def _read_plug(self, channel: socket.socket) -> None:
        """The VM says "plugged N DESCRIPTORS", "left" and "bound N", a line each.

        N is that of the gadget's last binding (images/gadget_vm/plug and wire). Ends, and
        closes the channel, when QEMU does.
        """
        with contextlib.suppress(OSError), channel, channel.makefile(encoding="ascii") as lines:
            for line in lines:
                word, *rest = line.split()
                if word == "left":
                    self.on_left()
                with self._plugs:
                    if word == "bound":
                        self._bound = rest[0]
                    else:
                        self._plugged = _Plugged.read(rest) if word == "plugged" else None
                    self._plugs.notify_all()

    # --- what a case does with it ---------------------------------------------------------

    def power_on(self, data_partition: str) -> None:
        """Bring up eMMC and mounts, as before an init script."""
        self._check(f"/lib/bootgate/up {data_partition}", "the gadget VM to come up", COPY_SECONDS)

    def run_init_script(self, command: str) -> ScriptRun:
        """Run the firmware's own S03usbdev with `command`, such as "start".

        Raises FirmwareFault when the device does not survive that, RigFault when the VM's
        shell does not answer although the device lives, or when the VM had too little of this
        machine's processor for it.
        """
        starving = Starving(self)
        deadline = Deadline.after(SCRIPT_SECONDS * 2 + 10, f"S03usbdev {command}")
        status = self._run(f"/lib/bootgate/firmware {SCRIPT_SECONDS} {command}", deadline)
        output = self._run("cat /run/init.log", deadline).text
        word = status.text.split()[-1] if status.text.split() else ""
        run = ScriptRun(int(word) if word.isdigit() else None, output)
        if run.status is None:
            starving.check(str(run), SCRIPT_SECONDS)
        return run

    def configfs(self) -> Configfs:
        """What the firmware has built. Raises as `run_init_script` does."""
        words = [
            line.split(" ", 1)
            for line in self._check(
                "/lib/bootgate/state luns", "the state of the gadget"
            ).splitlines()
        ]
        luns = []
        for what, rest in (pair for pair in words if len(pair) == 2):
            if what == "lun":
                told, *steps = rest.split(" -> ")
                read_only, cdrom, name = told.split(" ", 2)
                luns.append(Lun(name, tuple(steps), read_only == "1", cdrom == "1"))
        return Configfs(
            # Of several gadgets the one that is bound.
            udc=next((w[1].strip() for w in words if w[0] == "udc" and "".join(w[1:]).strip()), ""),
            functions=tuple(w[1] for w in words if w[0] == "function"),
            luns=tuple(luns),
        )

    def settle(self) -> Configfs:
        """What the firmware has built a little later, or as soon as it is on the bus.

        A script may leave work to be done behind its back. Raises as `run_init_script` does.
        """
        with self._plugs:
            self._plugs.wait_for(
                lambda: self._plugged is not None or self._died is not None, SETTLE_SECONDS
            )
        self._check_alive()
        return self.configfs()

    def wait_enumerated(self) -> None:
        """Wait until the bound gadget is on the cable, as it was bound last.

        Between two bindings what was plugged in is still on its way out. So the VM is asked
        which binding was the last; an event of the rig's own puts that question behind all
        that is still to be dealt with.

        Raises EndpointCollision when the virtual controller gave two interfaces one endpoint
        address, RigFault when the gadget does not come up, FirmwareFault when the device died.
        """
        self._bound = None
        self._check(_MARK, "the gadget VM to take an event")
        with self._plugs:
            self._plugs.wait_for(lambda: self._died is not None or self._is_there(), PLUG_SECONDS)
            plugged = self._plugged if self._is_there() else None
        self._check_alive()
        if plugged is None:
            log = self._check("cat /run/usbip.log /run/usbredirect.log 2>&1 || :", "its logs")
            raise RigFault(
                f"the gadget is bound but was not on the bus after {PLUG_SECONDS:g} s: "
                f"{printable(log.strip()) or 'no word of usbip or usbredirect'}"
            )
        try:
            found = collisions(plugged.descriptors)
        except ValueError as error:
            raise RigFault(f"the gadget's descriptors cannot be read: {error}") from error
        if found:
            raise EndpointCollision(
                "a limit of the rig, not of the firmware: the virtual USB controller gave "
                + ", ".join(str(c) for c in found)
            )

    def _is_there(self) -> bool:
        return self._plugged is not None and self._plugged.bound == self._bound

    def shell(self, command: str, seconds: float, what: str) -> Answer:
        """Run a command line on the device that may take so long, and wait for its end.

        Raises as `run_init_script` does.
        """
        return self._run(command, Deadline.after(seconds, what))

    def unbind(self) -> None:
        """Take the gadget off its USB controller, as a device's server does on "reset usb".

        Raises as `run_init_script` does.
        """
        self._check("/lib/bootgate/binding off", "the gadget to leave its controller")

    @contextlib.contextmanager
    def nothing_plugged_in(self) -> Iterator[None]:
        """Within, the gadget is in no port: nobody asks it anything while it comes and goes.

        A kernel in the midst of asking a device that leaves gives the port up after some rounds,
        and does not look at it again (drivers/usb/core/hub.c, hub_port_connect: "unable to
        enumerate USB device"). Raises as `run_init_script` does.
        """
        self._check("/lib/bootgate/port off", "the gadget's port")
        try:
            yield
        finally:
            self._check("/lib/bootgate/port on", "the gadget's port")

    def fill(self, file: str) -> None:
        """Write a path into the first LUN's attribute "file"; "" empties it.

        Raises as `run_init_script` does.
        """
        write = f'echo {shlex.quote(file)} >"$1/file"'
        command = f'set -- {_FIRST_LUN}; if [ -e "$1/file" ]; then {write}; else (exit {GONE}); fi'
        self._check_there(command, "the gadget's first LUN")

    def digest(self, path: str) -> str:
        """The SHA-256 of a file on the device, "" when the device itself cannot read it.

        Raises as `run_init_script` does.
        """
        name = shlex.quote(path)
        read = f"2>/dev/null sha256sum <{name} || :"
        command = f"if [ -e {name} ]; then {read}; else (exit {GONE}); fi"
        return "".join(self._check_there(command, f"the file {printable(path)}").split()[:1])

    def flush(self) -> None:
        """Have it write all that it has to write, and forget what it has read.

        Raises as `run_init_script` does.
        """
        self._check("sync && echo 3 >/proc/sys/vm/drop_caches", "the device to write to its eMMC")

    def make_folder(self, path: str) -> None:
        """Make a folder on the device. Raises as `run_init_script` does."""
        self._check(f"mkdir {shlex.quote(path)}", "a folder on the device")

    def make_link(self, path: str, target: str) -> None:
        """Make a symbolic link on the device. Raises as `run_init_script` does."""
        self._check(f"ln -s {shlex.quote(target)} {shlex.quote(path)}", "a link on the device")

    def lengthen(self, path: str, size: int | None) -> int:
        """Lengthen a file, to so many bytes or to the most that its file system takes.

        By a hole, where that has holes; exFAT has none.

        Returns how many bytes it has then. Raises as `run_init_script` does.
        """
        command = f"/lib/bootgate/lengthen {shlex.quote(path)} {size or ''}"
        return int(self._check(command, "a file on the device to be lengthened", COPY_SECONDS))

    def left(self) -> tuple[str, ...]:
        """What is there of the gadget (images/gadget_vm/state), a line each."""
        text = self._check("/lib/bootgate/state left", "what is left of the gadget")
        return tuple(text.splitlines())

    def bind(self) -> None:
        """Put it back."""
        self._check("/lib/bootgate/binding on", "the gadget to get its controller back")

    @property
    def starved(self) -> float:
        """Seconds for which it could run and this machine had no core for it."""
        return self._qemu.starved()

    def hurry(self, busy: bool) -> None:
        """Give usbredirect all of the VM's processor while the host talks to the gadget.

        While it does not, usbredirect would spin (images/gadget_vm/init): it gets a fiftieth,
        enough for what the gadget has to say by itself. Changes within 2 ms.
        """
        if busy != self._hurried:
            self._hurried = busy
            with contextlib.suppress(OSError):  # a VM that is gone hurries no more
                self._pace.sendall(b"max 50000\n" if busy else b"1000 50000\n")

    def press(self, report: bytes) -> bool:
        """Press the keys of a report on the gadget's keyboard and let go; whether the host took it.

        A report waits in the gadget until it is polled for. There is room for one
        (drivers/usb/gadget/function/f_hid.c, f_hidg_write) and, by the USB controller, for
        another (udc/dummy_hcd.c, dummy_queue: "an emulated single-request FIFO"). So the
        release is written twice: its second copy finds a place within `TAKEN_SECONDS` only if
        the press was taken. False also where the gadget has no keyboard. What was not taken
        stays there until the host resets the device, as it does on a real one.

        Once a host has begun to poll, the gadget's end of the cable polls in its name
        (usbredirhost.c): that it took the key says nothing of what the host does with it.
        SeaBIOS looks for keys in its timer interrupt (src/clock.c, clock_update). Raises as
        `run_init_script` does.
        """
        # Without the device, ">" would make a file of its name.
        reports = (report, NO_KEYS, NO_KEYS)
        command = " && ".join((f"[ -c {KEYBOARD} ]", *map(_type, reports)))
        deadline = Deadline.after(SHELL_SECONDS, "the gadget's keyboard")
        return self._run(command, deadline).status == 0

    def collect(self) -> Iterator[str]:
        """Write what is left to see into the evidence folder; yields the files' names."""
        yield from self.logs
        if self._died is not None or not self._qemu.running:
            return
        logs = "cat /run/init.log /run/usbip.log /run/usbredirect.log 2>/dev/null"
        wanted = [("gadget-configfs.txt", "/lib/bootgate/state all"), ("gadget-init.log", logs)]
        if self.served:
            wanted.append(("gadget-server.log", "cat /run/server.log"))
        for name, command in wanted:
            try:
                text = self._run(command, Deadline.after(SHELL_SECONDS, name)).text
            except BootgateError:
                return  # the shell is gone; what it printed is in the console log
            with disk("the evidence"):
                (self.evidence / name).write_text(escaped_lines(text), encoding="utf-8")
            yield name

    def check_alive(self) -> None:
        """Raise FirmwareFault when the device has switched itself off or restarted.

        To be asked when something at its end broke: its machine may be on its way out still.
        """
        # A machine that has closed its channels says why before it ends, not before it closes.
        self._qemu.wait_ended(END_SECONDS)
        self._check_alive()

    def close(self) -> None:
        """Switch it off. May be called twice."""
        self._stack.close()

    # --- below ----------------------------------------------------------------------------

    def _check_alive(self) -> None:
        if self._died is not None:
            raise FirmwareFault(f"the device {self._died} while the firmware was running")

    def _check_halted(self) -> None:
        """A kernel that has halted its only processor never goes on: HLT, interrupts off."""
        with contextlib.suppress(QemuError, DeadlineExpired):  # one that is gone says why itself
            # Twice: the machine runs, and may execute STI and HLT between the two that are read.
            if self._in_halt() and self._in_halt():
                raise FirmwareFault("the device halted while the firmware was running")

    def _in_halt(self) -> bool:
        registers = self._qemu.monitor("info registers")
        return "HLT=1" in registers and not int(registers.split("FL=")[1].split()[0], 16) & 0x200

    def _diagnose(self, error: RigFault) -> None:
        """Find out why a living machine's shell did not end a command in time.

        Raises FirmwareFault when that is the firmware's doing. A shell that answers later was
        slow, whoever's doing that was.
        """
        self._check_halted()
        if not isinstance(error, ShellEnded):
            return
        with contextlib.suppress(ConsoleError, DeadlineExpired):
            self._console.run("true", Deadline.after(LIFE_SECONDS, "the gadget VM's shell"))
            raise FirmwareFault(
                "the firmware killed what ran on the device, the shell that had started it too"
            )

    def _run(self, command: str, deadline: Deadline) -> Answer:
        try:
            return self._console.run(command, deadline)
        except (ConsoleError, DeadlineExpired) as error:
            # The serial line ends before QEMU does.
            if isinstance(error, ConsoleError):
                self._qemu.wait_ended(END_SECONDS)
            self._check_alive()
            if not self._qemu.running:
                raise self._qemu.failure() from error
            self._diagnose(error)
            raise

    def _check_there(self, command: str, what: str) -> str:
        """Run a command that ends with status `GONE` when `what` it is about has gone.

        Raises FirmwareFault then, else as `_check` does.
        """
        answer = self.shell(command, SHELL_SECONDS, what)
        if answer.status == GONE:
            raise FirmwareFault(f"{what} has gone from the device")
        return self._succeeded(command, answer)

    def _check(self, command: str, what: str, seconds: float = SHELL_SECONDS) -> str:
        return self._succeeded(command, self.shell(command, seconds, what))

    def _succeeded(self, command: str, answer: Answer) -> str:
        if answer.status != 0:
            raise RigFault(
                f"in the gadget VM, {command!r} ended with status {answer.status}: "
                f"{printable(answer.text.strip()) or 'it said nothing'}"
            )
        return answer.text
