"""The gadget VM, booted once and frozen at its shell.

Its memory is a file of its own that later VMs map privately (copy on write), so that a
restore reads only the devices' state (QEMU's migration capability x-ignore-shared): a shell
answers about 0.25 s after QEMU was started, where a cold boot takes 15 s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.console import Console
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, QemuError
from harness.owner import disk, find_tool
from harness.qemu import PACKAGE, PROGRAM, Qemu, escaped, version
from images.cache import digest, made
from images.emmc import PARTITION_TABLE, write_blank
from images.initramfs import GadgetImage

MEMORY = 128 << 20
SHELL_BEGINS = "BOOTGATE-SHELL"
"""What a shell prints that has its terminal, also when it takes another's place, which was ended
(images/gadget_vm/init)."""
CHANNELS = ("cable", "plug", "pace")
BOOT_SECONDS = 180.0
"""A cold boot takes 15 s on an idle machine; one that takes 180 s is broken."""

# The guest is thrown away after each case, and TCG would pay dearly for what hardens it: without
# these a case takes the processor a third longer.
_UNHARDENED = (
    "nokaslr mitigations=off init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off "
    "apparmor=0 audit=0 lsm="
)
_APPEND = f"console=ttyS1 panic=-1 quiet loglevel=7 {_UNHARDENED}"


@dataclass(frozen=True)
class Snapshot:
    """A frozen gadget VM that has the USB device controller `udc`."""

    image: GadgetImage
    udc: str
    memory: Path
    state: Path


class Migration:
    """Waits for the end of a migration by QEMU's own event."""

    def __init__(self) -> None:
        """Pass `on_event` to `Qemu`, or call it from there."""
        self._ended = threading.Event()
        self._status = ""

    def on_event(self, name: str, data: dict[str, Any]) -> None:
        """Take a QMP event."""
        if name == "MIGRATION" and data.get("status") in ("completed", "failed"):
            self._status = str(data["status"])
            self._ended.set()

    def run(self, qemu: Qemu, command: str, fd: int, deadline: Deadline) -> None:
        """`command` is "migrate" or "migrate-incoming"; the stream goes over `fd`.

        Raises QemuError, DeadlineExpired.
        """
        wanted = [{"capability": c, "state": True} for c in ("x-ignore-shared", "events")]
        qemu.execute("migrate-set-capabilities", {"capabilities": wanted})
        qemu.lend("state", fd)
        qemu.execute(command, {"uri": "fd:state"})
        if not self._ended.wait(deadline.remaining()):
            raise deadline.failure() if qemu.running else qemu.failure()
        if self._status != "completed":
            raise QemuError(f"{command} of the gadget VM failed: remove its snapshot in the cache")


def machine(
    image: GadgetImage, udc: str, memory: Path, emmc: Path, kernel_log: Path
) -> tuple[str, ...]:
    """QEMU's arguments. Frozen and restored VM must have the same, but for the files' names.

    QEMU waits before it makes the machine (-preconfig), so that the console's pty can be
    opened first: a pty that nobody has open when the UART looks is looked at again only a
    second later (QEMU, chardev/char-pty.c, pty_chr_update_read_handler).
    """
    return (
        *("-preconfig", "-M", "pc,usb=off,vmport=off,memory-backend=memory"),
        *("-cpu", "qemu64", "-smp", "1", "-m", f"{MEMORY >> 20}M"),
        *("-object", f"memory-backend-file,id=memory,size={MEMORY},mem-path={escaped(memory)}"),
        *("-kernel", str(image.kernel.image), "-initrd", str(image.initramfs)),
        *("-append", f"{_APPEND} udc={udc}", "-no-reboot"),
        *("-chardev", "pty,id=console", "-serial", "chardev:console"),
        *("-chardev", f"file,id=log,path={escaped(kernel_log)}", "-serial", "chardev:log"),
        *("-device", "virtio-serial-pci"),
        *("-device", "virtserialport,chardev=cable,name=cable"),
        *("-device", "virtserialport,chardev=plug,name=plug"),
        *("-device", "virtserialport,chardev=pace,name=pace"),
        *("-blockdev", f"file,node-name=file,filename={escaped(emmc)},cache.no-flush=on"),
        *("-blockdev", "raw,node-name=emmc,file=file"),
        *("-device", "virtio-blk-pci,drive=emmc"),
    )


def console_device(qemu: Qemu) -> str:
    """The pty of the VM's console, such as "/dev/pts/3"."""
    chardevs = qemu.execute("query-chardev")
    names = {chardev["label"]: str(chardev["filename"]) for chardev in chardevs}
    return names["console"].removeprefix("pty:")


def frozen(image: GadgetImage, udc: str, folder: Path, note: Callable[[str], None]) -> Snapshot:
    """Take the snapshot from the cache, or boot the VM and freeze it.

    `folder` is for scratch files, `note` is told when it takes long. Raises ToolError,
    QemuError, DiskFull, DeadlineExpired.
    """
    unnamed = machine(image, udc, Path("memory"), Path("emmc"), Path("log"))
    qemu = Path(find_tool(PROGRAM, PACKAGE))
    key = digest([Path(__file__), image.key, PARTITION_TABLE, version(), qemu, *unnamed])

    def make(entry: Path) -> None:
        note(
            f"booting the gadget VM with {udc} once, about 15 s; later runs take it from the cache"
        )
        with disk("the gadget VM's snapshot"):
            with open(entry / "memory", "wb") as file:
                file.truncate(MEMORY)
            write_blank(entry / "emmc")
            _freeze(image, udc, entry, folder)
            (entry / "emmc").unlink()

    entry = made("snapshot", key, make)
    return Snapshot(image, udc, entry / "memory", entry / "state")


def _freeze(image: GadgetImage, udc: str, entry: Path, folder: Path) -> None:
    deadline = Deadline.after(BOOT_SECONDS, "the gadget VM's first boot to reach its shell")
    migration = Migration()
    arguments = machine(image, udc, entry / "memory", entry / "emmc", entry / "boot.log")
    shared = [a + ",share=on" if a.startswith("memory-backend-file") else a for a in arguments]
    with (
        open(entry / "state", "wb") as state,
        Qemu(
            "gadget",
            shared,
            folder=folder,
            channels=CHANNELS,
            on_event=migration.on_event,
        ) as qemu,
    ):
        console = Console(console_device(qemu), entry / "console.log")
        try:
            qemu.execute("x-exit-preconfig")
            qemu.execute("cont")
            console.wait_for("BOOTGATE-READY", deadline)
            console.check("true", deadline)
        except DeadlineExpired as error:
            log = (entry / "boot.log").read_text(errors="replace").strip().splitlines()
            last = log[-1] if log else "its kernel printed nothing"
            raise DeadlineExpired(f"{error}; last line of its kernel log: {last[:200]}") from None
        finally:
            console.close()
        qemu.execute("stop")
        migration.run(qemu, "migrate", state.fileno(), deadline)
