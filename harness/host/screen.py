"""The host's screen, as text and as a picture."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from harness.owner import disk
from harness.qemu import Qemu

COLUMNS, ROWS = 80, 25
TEXT_DOTS = [b"720", b"400"]
TEXT_MEMORY = 0xB8000
"""Colour text memory: a character and an attribute byte for each place (IBM VGA)."""


def text(qemu: Qemu) -> str:
    """The 80x25 text screen, lines joined by line feeds, trailing blanks removed.

    Text memory is read even while the adapter shows graphics; it is what was written last.
    Raises QemuError, DeadlineExpired.
    """
    dump = qemu.monitor(f"xp /{COLUMNS * ROWS}xh {TEXT_MEMORY:#x}")
    cells = [int(word, 16) & 0xFF for word in re.findall(r"0x([0-9a-f]{4})\b", dump)]
    glyphs = bytes(c if 0x20 <= c < 0x7F else 0x20 for c in cells).decode("ascii")
    lines = (glyphs[i : i + COLUMNS].rstrip() for i in range(0, len(glyphs), COLUMNS))
    return "\n".join(lines).rstrip()


def digest(qemu: Qemu, scratch: Path) -> str:
    """A fingerprint of what the adapter shows in a graphics mode; empty in text mode.

    There the cursor blinks, so that the same text gives different pictures. A picture in
    `scratch` comes and goes. Raises QemuError, DeadlineExpired, DiskFull.
    """
    path = scratch / "screen.ppm"
    qemu.execute("screendump", {"filename": str(path)})
    with disk("a picture of the screen", "read"):
        shown = path.read_bytes()
        path.unlink()
    # "P6\n720 400\n255\n" (Netpbm, ppm(5)): text, of 9 by 16 dots a character.
    return "" if shown.split(maxsplit=3)[1:3] == TEXT_DOTS else hashlib.sha256(shown).hexdigest()


def picture(qemu: Qemu, path: Path) -> None:
    """Write the screen as a PNG file. Raises QemuError, DeadlineExpired."""
    qemu.execute("screendump", {"filename": str(path), "format": "png"})
