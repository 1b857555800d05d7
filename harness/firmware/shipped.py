"""The firmware trees that ship with the project (fixtures/firmware/README.md)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.firmware.entries import Entry
from harness.firmware.folder import folder_entries

_HOME = Path(__file__).resolve().parents[2] / "fixtures" / "firmware"
_COMMON = _HOME / "common" / "kvmapp"


def shipped() -> tuple[str, ...]:
    """Names for --firmware, without those that misbehave on purpose: "fixed", "stock"."""
    return _names(_HOME.glob("*/about"))


def faults() -> tuple[str, ...]:
    """Names of the seeded faults, as --firmware takes them: "faults/NAME"."""
    return _names(_HOME.glob("faults/*/about"))


def rough() -> tuple[str, ...]:
    """Names of the trees that test the instrument's nerves: "rough/NAME"."""
    return _names(_HOME.glob("rough/*/about"))


def names() -> tuple[str, ...]:
    """Every name that --firmware takes."""
    return shipped() + faults() + rough()


def about(name: str) -> str:
    """What the tree `name` does, in one line."""
    return (_HOME / name / "about").read_text(encoding="utf-8").splitlines()[0]


def breaks(name: str) -> tuple[str, ...]:
    """The requirements that the tree `name` breaks, by id; none for a tree without a fault."""
    file = _HOME / name / "breaks"
    return tuple(file.read_text(encoding="ascii").split()) if file.exists() else ()


def shipped_entries(name: str) -> Iterable[Entry]:
    """The tree `name`: what all trees share, with its own files laid over that."""
    own = _HOME / name / "kvmapp"
    layers = [_COMMON, own] if own.exists() else [_COMMON]
    merged = {entry.name: entry for layer in layers for entry in folder_entries(layer)}
    return merged.values()


def _names(found: Iterable[Path]) -> tuple[str, ...]:
    return tuple(sorted(str(about.parent.relative_to(_HOME)) for about in found))
