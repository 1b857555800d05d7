"""QEMU's own USB drive, in the gadget's place: what a host does with that is its own doing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.qemu import Qemu, escaped

ID = "stick"
PORT = "1"
"""The USB controller's port, always the same: the boot order that the BIOS is given names it."""


@dataclass(frozen=True)
class Stick:
    """A removable drive with an image in it, which is not written to, or with nothing.

    `away` is how many seconds it is not there when it is unplugged and plugged in again, None
    when it does not come back; `then` is the image that is in it after a change of medium;
    `cdrom`: whether it is a CD-ROM drive.
    """

    image: Path | None = None
    away: float | None = 0.5
    then: Path | None = None
    cdrom: bool = False

    @property
    def changed(self) -> Stick:
        """The same drive after its change of medium."""
        return replace(self, image=self.then)

    def arguments(self) -> tuple[str, ...]:
        """QEMU's arguments for one that is there from the start, where a gadget would be."""
        device = f"usb-storage,id={ID},bus=usb.0,port={PORT},drive={ID}-0,removable=on,bootindex=1"
        return ("-drive", self._drive(0), "-device", device)

    def plug(self, qemu: Qemu, number: int) -> None:
        """Plug it in, for the `number`-th time. Raises QemuError, DeadlineExpired.

        QEMU throws a -drive away with its device (blockdev.c, blockdev_auto_del), and only so
        can a drive be empty: a removable one is no CD's.
        """
        # In quotes, for a file's name may have blanks in it (monitor/hmp.c, get_str).
        drive = self._drive(number).replace("\\", r"\\").replace('"', r"\"")
        said = qemu.monitor(f'drive_add 0 "{drive}"').strip()
        if said != "OK":
            raise qemu.refusal(f"drive_add: {said}")
        place = {"id": ID, "bus": "usb.0", "port": PORT, "drive": f"{ID}-{number}"}
        qemu.execute("device_add", {"driver": "usb-storage", "removable": True, **place})

    def _drive(self, number: int) -> str:
        name = f"if=none,id={ID}-{number}" + (",media=cdrom" if self.cdrom else "")
        if self.image is None:
            return name
        return f"{name},file={escaped(self.image)},format=raw,read-only=on,cache.no-flush=on"
