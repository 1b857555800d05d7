"""The device's own server, as a user drives it, and what it says held against what is there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from harness.errors import Untrue
from harness.owner import printable
from harness.rig.case import DELETE, MOUNT, TOGGLE, UNMOUNT

if TYPE_CHECKING:
    from harness.firmware.server import Server
    from harness.rig.gadget import Gadget


class DeviceServer:
    """The server of a case's device.

    After each call that changes something, the gadget has been bound anew and is on the cable
    again when it comes back. Raises Refused when the server says no, Untrue when it says what is
    not so, ServerFault when it says what cannot be, or nothing.
    """

    def __init__(self, server: Server, gadget: Gadget) -> None:
        """`server` of `gadget`, listening."""
        self._server = server
        self._gadget = gadget

    def mount(self, file: str, *, cdrom: bool = False) -> None:
        """Put an image into the drive, as a disk or as a CD-ROM."""
        self._gadget.changed_by(MOUNT)
        with self._gadget.changing():
            self._server.mount(file, cdrom=cdrom)
        self._gadget.give_time(lambda: self._seen_file == file)
        if self._seen_file != file:
            raise Untrue(
                f"the server said that it mounted {_named(file)}; "
                f"lun.0/file holds {_named(self._seen_file)}"
            )

    def unmount(self) -> None:
        """Take the medium out."""
        self._gadget.changed_by(UNMOUNT)
        lun = self._gadget.seen_lun
        before = lun.file if lun else ""
        with self._gadget.changing():
            self._server.unmount()
        if not before:
            return
        self._gadget.give_time(lambda: self._seen_file != before)
        if self._seen_file == before:
            raise Untrue(
                f"the server said that it unmounted {_named(before)}; lun.0/file holds it still"
            )

    def delete(self, file: str) -> None:
        """Delete an image."""
        self._gadget.changed_by(DELETE)
        with self._gadget.changing():
            self._server.delete(file)

    def toggle_disk(self, times: int = 1) -> list[bool]:
        """Switch the virtual disk on or off, so many times; whether each time it says it is on.

        More than once while the gadget is plugged in nowhere.
        """
        said: list[bool] = []
        self._gadget.changed_by(TOGGLE)
        with self._gadget.changing(lambda: said[-1]), contextlib.ExitStack() as stack:
            if times > 1:
                stack.enter_context(self._gadget.nothing_plugged_in())
            for _ in range(times):
                said.append(self._server.toggle_disk())
        on = said[-1]
        self._gadget.give_time(lambda: bool(self._gadget.seen_drives) == on)
        drives = self._gadget.seen_drives
        if bool(drives) != on:
            has = ", ".join(map(_named, drives)) or "no drive"
            raise Untrue(f"the server said that the disk is {_on_or_off(on)}; the gadget has {has}")
        return said

    def switch_disk(self, *, on: bool) -> None:
        """Switch the virtual disk, which is the other way, on or off."""
        (said_on,) = self.toggle_disk()
        if said_on != on:
            wanted, said = _on_or_off(on), _on_or_off(said_on)
            raise Untrue(f"the disk was switched {wanted}; the server says that it is {said}")

    def mounted(self) -> str:
        """The path of the image that it says is in the drive, or ""."""
        return self._server.mounted()

    def images(self) -> list[str]:
        """The images that it offers, by path."""
        return self._server.images()

    def check_told(self, file: str, *, cdrom: bool | None = None) -> None:
        """Raise Untrue unless `file` is in the drive, and the server says so too.

        "" is for an empty drive; `cdrom` is whether it has to be a CD-ROM drive.
        """
        told, lun = self.mounted(), self._gadget.drive_lun
        held = self._seen_file
        if told != file or held != file:
            raise Untrue(
                f"{_named(file)} should be in the drive; the server says {_named(told)}, "
                f"lun.0/file holds {_named(held)}"
            )
        if cdrom is None or lun is None:
            return
        said = self._server.is_cdrom()
        if said != cdrom or lun.cdrom != cdrom:
            raise Untrue(
                f"{_named(file)} should be a {_kind(cdrom)}; the server says {_kind(said)}, "
                f"lun.0/cdrom {_kind(lun.cdrom)}"
            )

    @property
    def _seen_file(self) -> str:
        lun = self._gadget.seen_lun
        return lun.file if lun else "no LUN"


def _named(file: str) -> str:
    return printable(file, 200) or "nothing"


def _kind(cdrom: bool) -> str:
    return "CD-ROM" if cdrom else "disk"


def _on_or_off(on: bool) -> str:
    return "on" if on else "off"
