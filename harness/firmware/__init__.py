"""How a firmware tree is laid out and driven (NanoKVM first).

`open_firmware` turns what the user wrote after --firmware into a `Firmware`; `Gate` and
`Shape` say what is in the device's /boot; `nanokvm` knows where things are on the device.
"""

from harness.firmware.copying import LIMITS, Limits
from harness.firmware.gate import Gate, Shape, boot_files
from harness.firmware.shipped import about, breaks, faults, rough, shipped
from harness.firmware.tree import Firmware, open_firmware

__all__ = [
    "LIMITS",
    "Firmware",
    "Gate",
    "Limits",
    "Shape",
    "about",
    "boot_files",
    "breaks",
    "faults",
    "open_firmware",
    "rough",
    "shipped",
]
