"""An outcome in a few lines that a firmware maintainer can paste into a bug report. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from harness.cable.conversation import PAUSE, transcript
from harness.cable.scsi import read_blocks
from harness.observation import BiosLine, Handover, Observation, ScsiCommand, ScsiReply
from harness.outcome.kinds import Booted, Hung, NoDrive, Outcome, Recovery
from harness.outcome.wire import asked

SIGNATURE = b"\x55\xaa"
"""The last two bytes of a boot sector (IBM PC/AT Technical Reference, INT 19h)."""

_FILE_SYSTEMS = (
    (3, b"EXFAT   ", "exFAT"),
    (3, b"NTFS    ", "NTFS"),
    (54, b"FAT", "FAT"),
    (82, b"FAT32", "FAT32"),
    (0, b"LUKS\xba\xbe", "LUKS"),
)
"""Where in the first sector which bytes name a file system (Linux, util-linux's libblkid)."""

_PROTECTIVE = 0xEE
"""Type of the one partition in the MBR of a GPT disk (UEFI 2.10, 5.2.3)."""

CODE = 8
"""So many bytes of code are shown."""


def explain(outcome: Outcome, stream: Sequence[Observation], drive: str, device: str) -> str:
    """What the BIOS saw on the drive, what it did, why that is a hang, what brings the PC back.

    `drive` says what was in the gadget's drive, `device` how the device came up; both may be
    empty. Lines that have nothing to say are left out.
    """
    lines = [f"{outcome}{drive}: {outcome.why}"]
    if isinstance(outcome, NoDrive):
        return f"{lines[0]}; {device}"
    if device:
        heard = asked(stream)
        said = "it has no medium" if heard.heard_empty else "nothing of a missing medium"
        questions = ", ".join(dict.fromkeys(heard.answered)) or "nothing"
        lines.append(f"drive: asked {questions}; said {said}{_first_sector(stream)}")
    elif sector := _first_sector(stream):
        lines.append(f"drive: {sector.removeprefix('; ')}")
    if wire := wire_words(stream):
        lines.append(f"wire: {wire}")
    lines.append(f"PC: {_did(outcome, stream)}")
    if isinstance(outcome, Hung):
        lines.append(f"hang: {_place(outcome)}")
        lines.append(f"back to life: {recovery_words(outcome.recovery)}")
    if device:
        lines.append(f"device: {device}")
    return "\n".join(lines)


WIRE_LINES = 2
"""So many lines of the transcript are shown, its last ones, and before them all about waits."""


def wire_words(stream: Sequence[Observation]) -> str:
    """How the transcript of the wire ends, and where nothing crossed for long."""
    lines = [" ".join(line.split()) for line in transcript(stream).splitlines()]
    waits = [line for line in lines[:-WIRE_LINES] if PAUSE in line]
    return " | ".join(waits + lines[-WIRE_LINES:])


def sector_words(sector: bytes) -> str:
    """What a BIOS sees in a first sector: signature, code, file system."""
    signature = "signature 55AA" if sector[510:512] == SIGNATURE else "no signature 55AA"
    code = sector[:CODE].hex(" ")
    alike = len(set(sector[:CODE])) == 1
    return f"{signature}, code {code}{' (all alike)' if alike else ''}, {_file_system(sector)}"


def recovery_words(recovery: Recovery | None) -> str:
    """What brings the PC back, and what does not."""
    if recovery is None:
        return "not tried"
    words = {"resets": "resets it", "dead": "does nothing", "not_driven": "is not driven"}
    without = {
        True: "with the drive unplugged it boots after a reset",
        False: "even with the drive unplugged it does not boot after a reset",
        None: "no drive was plugged in",
    }[recovery.boots_without_drive]
    return (
        f"Ctrl-Alt-Del on a PS/2 keyboard {words[recovery.ps2]}; the gadget's keyboard "
        f"{words[recovery.gadget_keyboard]}; {without}"
    )


def _first_sector(stream: Sequence[Observation]) -> str:
    """What is in the sector that the BIOS started, or else read from LBA 0 of the USB drive."""
    for seen in stream:
        if isinstance(seen, Handover):
            return f"; the sector that drive {seen.drive:02X}h gave: {sector_words(seen.sector)}"
    first: set[int] = set()
    for seen in stream:
        if isinstance(seen, ScsiCommand):
            # SeaBIOS gives all commands one tag (src/hw/usb-msc.c, usb_process_op).
            first.discard(seen.tag)
            if (blocks := read_blocks(seen.cdb)) and blocks.lba == 0:
                first.add(seen.tag)
        elif isinstance(seen, ScsiReply) and seen.tag in first and len(seen.data) >= 512:
            return f"; its first sector: {sector_words(seen.data)}"
    return ""


def _file_system(sector: bytes) -> str:
    for offset, magic, name in _FILE_SYSTEMS:
        if sector[offset : offset + len(magic)] == magic:
            return f"file system {name}"
    if len(sector) > 450 and sector[450] == _PROTECTIVE:
        return "a GPT disk's MBR"
    return "no file system in it that is known"


def _did(outcome: Outcome, stream: Sequence[Observation]) -> str:
    said = [s.text.strip() for s in stream if isinstance(s, BiosLine) and s.text.strip()]
    words = ["BIOS: " + " | ".join(said[-3:])] if said else ["the BIOS said nothing"]
    if isinstance(outcome, Booted) and outcome.detours:
        words.append(f"before that: {' | '.join(outcome.detours)}")
    if isinstance(outcome, Hung) and outcome.last is not None:
        words += [f"last disk read: {outcome.last.disk or 'none'}"]
        words += [f"last SCSI command: {outcome.last.scsi}"] if outcome.last.scsi else []
    return "; ".join(words)


def _place(hung: Hung) -> str:
    if hung.where is None:
        return "at a place that is not known"
    listing = " / ".join(" ".join(line.split()) for line in hung.where.listing[:4])
    return f"at {hung.where}, put there by {hung.where.origin}: {listing}"
