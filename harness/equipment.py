"""What all cases of a run share: made once, before the first case, by the process that owns it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.firmware import Firmware, Shape, open_firmware
from harness.gadget.snapshot import Snapshot, frozen
from harness.host.pc import check_bios
from harness.owner import find_tool
from images.initramfs import gadget_image
from images.kernel import find_kernel
from images.payload import marker_sector
from images.rom import ROMS, option_rom


@dataclass(frozen=True)
class Equipment:
    """Firmware, frozen gadget VMs and the BIOS of each case that does not ask for another.

    `stock` is the shipped firmware with the defect, for the control that must hang;
    `snapshots` are by USB device controller.
    """

    firmware: Firmware
    stock: Firmware
    snapshots: Mapping[str, Snapshot]
    bios: str


def prepare(firmware: Firmware, bios: str, scratch: Path, note: Callable[[str], None]) -> Equipment:
    """Make what is not in the cache yet.

    `scratch` is a folder that lives as long as the run; `note` is told what takes long.
    Raises UsageError for a BIOS that cannot be used; RigFault when a tool is missing or
    broken, DiskFull.
    """
    check_bios(bios)
    stock = open_firmware("stock", scratch / "stock")
    marker_sector("check")  # an assembler that does not work is better found now
    find_tool("xorriso", "xorriso")
    for name in ROMS:
        option_rom(name)
    image = gadget_image(find_kernel())
    snapshots = {
        udc: frozen(image, udc, scratch, note) for udc in dict.fromkeys(s.udc for s in Shape)
    }
    return Equipment(firmware, stock, snapshots, bios)
