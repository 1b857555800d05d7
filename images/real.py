"""Boot media that people use, out of Debian's packages: fetched by ci/bootstrap, not installed."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BootgateError, ToolError
from harness.owner import disk, run_tool
from images.cache import digest, found, made
from images.packages import unpack


@dataclass(frozen=True)
class Real:
    """A medium: `name` with its suffix, the packages that it comes from, and how to know it.

    `shows` are words of its own first screen; `megabytes` how much memory the PC needs for them,
    `seconds` how long it may take to show them; `large` is one that takes minutes to load over USB
    1. All of them are hybrids: CD-ROM and disk in one.
    """

    name: str
    packages: tuple[str, ...]
    shows: str
    write: Callable[[Path, Path], None]
    megabytes: int = 64
    seconds: float = 20.0
    large: bool = False


def _taken(place: str) -> Callable[[Path, Path], None]:
    """The medium is a file of its package."""

    def write(tree: Path, path: Path) -> None:
        shutil.copyfile(tree / place, path)

    return write


_ISOLINUX = """\
default install
label install
    kernel linux
    append initrd=initrd.gz vga=normal nomodeset no-scroll fb=false
"""
"""syslinux's configuration: the installer's text dialogs on the PC's text screen, whose memory does
not move (Linux, drivers/video/console/vgacon.c, no_scroll)."""


def _installer(tree: Path, path: Path) -> None:
    """The installer's netboot files, as the disc of Debian's that brings them would start them."""
    (files,) = tree.glob("usr/lib/debian-installer/images/*/*/text/debian-installer/*")
    disc = path.with_name("disc")
    disc.mkdir()
    for name in ("linux", "initrd.gz"):
        shutil.move(files / name, disc / name)
    shutil.copyfile(tree / "usr/lib/ISOLINUX/isolinux.bin", disc / "isolinux.bin")
    shutil.copyfile(tree / "usr/lib/syslinux/modules/bios/ldlinux.c32", disc / "ldlinux.c32")
    (disc / "isolinux.cfg").write_text(_ISOLINUX, encoding="ascii")
    boot = ["-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4"]
    hybrid = ["-boot-info-table", "-isohybrid-mbr", str(tree / "usr/lib/ISOLINUX/isohdpfx.bin")]
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "INSTALLER", *boot, *hybrid]
    run_tool([*command, "-o", str(path), str(disc)], package="xorriso")
    shutil.rmtree(disc)


_ARCH = "amd64"
"""Every PC with a legacy BIOS that is still in use runs it."""

REAL = {
    real.name: real
    for real in (
        Real(
            "memtest.iso",
            (f"memtest86+:{_ARCH}",),
            "Memtest86+ v",
            _taken("usr/lib/memtest86+/memtest86+x64.iso"),
        ),
        Real("ipxe.iso", ("ipxe",), "iPXE 1", _taken("usr/lib/ipxe/ipxe.iso")),
        Real(
            "rescue.iso",
            (f"grub-rescue-pc:{_ARCH}",),
            "GNU GRUB",
            _taken("usr/lib/grub-rescue/grub-rescue-cdrom.iso"),
        ),
        Real(
            "installer.iso",
            (f"debian-installer-12-netboot-{_ARCH}", "isolinux", "syslinux-common"),
            "Select a language",
            _installer,
            megabytes=768,
            seconds=300.0,
            large=True,
        ),
    )
}
"""By name: a memory tester, a network boot, a rescue disc and an installer."""


def _key(real: Real) -> str:
    return digest(("a medium that was fetched", real.name, *real.packages, _ISOLINUX))


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
            told = ", ".join(real.packages)
            print(f"bootgate: fetching a boot medium: {told}", file=sys.stderr, flush=True)
            draft = store / "packages"
            with disk("a boot medium"):
                draft.mkdir()
                tree = draft / "tree"
                unpack(real.packages, draft, tree)
                real.write(tree, store / real.name)
                shutil.rmtree(draft)

        made("real", _key(real), make)


if __name__ == "__main__":
    # So that a download that is stopped leaves nothing in the cache.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        fetch()
    except BootgateError as problem:
        print(f"bootgate: {problem}", file=sys.stderr)
        sys.exit(problem.exit_status)
