"""Boot media that people use, out of Debian's packages: fetched by ci/bootstrap, not installed."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ToolError
from harness.owner import disk
from images.cache import digest, found, made
from images.packages import as_program, unpack


@dataclass(frozen=True)
class Real:
    """A medium: `name` with its suffix, its package and where that has it, and how to know it.

    `shows` are words of its own first screen. All of them are hybrids: CD-ROM and disk in one.
    """

    name: str
    package: str
    place: str
    shows: str


_ARCH = "amd64"
"""Every PC with a legacy BIOS that is still in use runs it."""

REAL = {
    real.name: real
    for real in (
        Real(
            *("memtest.iso", f"memtest86+:{_ARCH}", "usr/lib/memtest86+/memtest86+x64.iso"),
            "Memtest86+ v",
        ),
        Real("ipxe.iso", "ipxe", "usr/lib/ipxe/ipxe.iso", "iPXE 1"),
        Real(
            *("rescue.iso", f"grub-rescue-pc:{_ARCH}", "usr/lib/grub-rescue/grub-rescue-cdrom.iso"),
            "GNU GRUB",
        ),
    )
}
"""By name: a memory tester, a network boot and a rescue disc."""


def _key(real: Real) -> str:
    return digest(("a medium that was fetched", real.name, real.package))


def real_medium(name: str) -> Path:
    """The medium's file in the cache. Raises ToolError when ci/bootstrap has not brought it."""
    entry = found("real", _key(REAL[name]))
    if entry is None:
        raise ToolError(f"the boot medium {name} was not fetched: run ci/bootstrap")
    return entry / name


def fetch() -> None:
    """Bring all of them into the cache, through apt. Raises ToolError, DiskFull."""
    for real in REAL.values():

        def make(store: Path, real: Real = real) -> None:
            print(f"bootgate: fetching a boot medium: {real.package}", file=sys.stderr, flush=True)
            draft = store / "packages"
            with disk("a boot medium"):
                draft.mkdir()
                tree = draft / "tree"
                unpack([real.package], draft, tree)
                shutil.copyfile(tree / real.place, store / real.name)
                shutil.rmtree(draft)

        made("real", _key(real), make)


if __name__ == "__main__":
    as_program(fetch)
