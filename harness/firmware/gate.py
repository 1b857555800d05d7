"""What the user can put into /boot: the gate file of the virtual disk, and the device's shape."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from harness.errors import UsageError
from harness.firmware.nanokvm import GATE


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate file of the virtual disk; `content` is None when there is no such file."""

    content: bytes | None

    ABSENT: ClassVar[Gate]
    """No gate file: no virtual disk."""
    EMPTY: ClassVar[Gate]
    """A gate file of no bytes: virtual disk on, nothing chosen (the factory state)."""
    LINE_FEED: ClassVar[Gate]
    """A gate file with one line feed, as an editor or `echo` leaves it: nothing chosen."""

    @classmethod
    def path(cls, path: str) -> Gate:
        """A gate file that chooses the image at `path`, an absolute path on the device.

        Raises UsageError for what a gate file cannot name.
        """
        if not path.startswith("/") or "\n" in path or "\0" in path:
            raise UsageError(f"{path!r} cannot be chosen in a gate file: give an absolute path")
        return cls(os.fsencode(path))

    @property
    def promises_drive(self) -> bool:
        """Whether the device has to show a virtual disk."""
        return self.content is not None

    def __str__(self) -> str:
        """For reports and test ids: "absent", "empty", "line feed", or the path."""
        if self.content is None:
            return "absent"
        return {b"": "empty", b"\n": "line feed"}.get(
            self.content, self.content.decode(errors="backslashreplace")
        )


Gate.ABSENT = Gate(None)
Gate.EMPTY = Gate(b"")
Gate.LINE_FEED = Gate(b"\n")


class Shape(Enum):
    """Which functions the gadget has beside the virtual disk."""

    HID_AND_STORAGE = "hid_and_storage"
    """Keyboard, mouse, absolute pointer; no network."""
    FACTORY = "factory"
    """As the device leaves the factory: an RNDIS network card, then the same."""

    @property
    def udc(self) -> str:
        """The driver of the virtual USB controller that this shape needs.

        dummy_hcd gives two interfaces of the factory shape one endpoint address;
        usbip-vudc numbers endpoints as a real controller does.
        """
        return "usbip-vudc" if self is Shape.FACTORY else "dummy_hcd"


def boot_files(
    shape: Shape, gate: Gate, extra: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """All files of /boot, content by name.

    `extra` adds further gate files, such as {"BIOS": b""}. Raises UsageError when it names
    one that `shape` or `gate` decide.
    """
    files = dict(extra or {})
    decided = {GATE, "usb.rndis0"} & files.keys()
    if decided:
        raise UsageError(f"extra /boot files cannot hold {min(decided)}: choose a gate or a shape")
    if shape is Shape.FACTORY:
        files["usb.rndis0"] = b""
    if gate.content is not None:
        files[GATE] = gate.content
    return files
