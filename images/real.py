"""Boot media that people use, out of Debian's packages: fetched by ci/bootstrap, not installed."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ToolError
from harness.owner import disk, run_tool
from images.cache import digest, found, made
from images.packages import as_program, unpack


@dataclass(frozen=True)
class Real:
    """A medium: `name` with its suffix, what it is made of, and how to know it.

    `write` makes its file, given the folder into which `packages` were unpacked. `shows` are words
    of its own first screen, `seconds` how long a PC may take to that: several times what it takes.
    `megabytes` is how much memory that PC has, None if it needs no more than any; one that is
    `large` takes a minute to load over EHCI, and is tried on no other controller. All of them are
    hybrids: CD-ROM and disk in one.
    """

    name: str
    packages: tuple[str, ...]
    write: Callable[[Path, Path], None]
    shows: str
    seconds: float = 45.0
    megabytes: int | None = None
    large: bool = False


def file_at(place: str) -> Callable[[Path, Path], None]:
    """What takes the file at `place` in the packages as it is."""

    def write(tree: Path, path: Path) -> None:
        shutil.copyfile(tree / place, path)

    return write


INSTALLER = "usr/lib/debian-installer/images/*/*/text/debian-installer/*"
ISOLINUX = """\
default install
label install
    kernel linux
    append initrd=initrd.gz vga=normal nomodeset no-scroll fb=false
"""
"""syslinux's configuration: dialogs on the PC's text screen, the memory of which does not move
(Linux, drivers/video/console/vgacon.c, no_scroll)."""


def _write_installer(tree: Path, path: Path) -> None:
    """The installer's kernel and initrd, started by ISOLINUX as on Debian's own discs."""
    folders = list(tree.glob(INSTALLER))
    if len(folders) != 1:
        raise ToolError(f"the installer's files are in {len(folders)} folders of its package")
    (files,) = folders
    disc = path.with_name("disc")
    disc.mkdir()
    isolinux = tree / "usr/lib/ISOLINUX"
    library = tree / "usr/lib/syslinux/modules/bios/ldlinux.c32"
    for source in (files / "linux", files / "initrd.gz", isolinux / "isolinux.bin", library):
        shutil.copyfile(source, disc / source.name)
    (disc / "isolinux.cfg").write_text(ISOLINUX, encoding="ascii")
    boot = ["-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4"]
    hybrid = ["-boot-info-table", "-isohybrid-mbr", str(isolinux / "isohdpfx.bin")]
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "INSTALLER", *boot, *hybrid]
    run_tool([*command, "-o", str(path), str(disc)], package="xorriso")
    shutil.rmtree(disc)


_ARCH = "amd64"
"""Every PC with a legacy BIOS that is still in use runs it."""

OLDEST = "12"
"""The oldest release of Debian that this runs on."""


def _release() -> str:
    """The number of this machine's Debian, after which the installer's package is named."""
    try:
        return platform.freedesktop_os_release().get("VERSION_ID", OLDEST)
    except OSError:
        return OLDEST


REAL = {
    real.name: real
    for real in (
        Real(
            *("memtest.iso", (f"memtest86+:{_ARCH}",)),
            file_at("usr/lib/memtest86+/memtest86+x64.iso"),
            "Memtest86+ v",
        ),
        Real("ipxe.iso", ("ipxe",), file_at("usr/lib/ipxe/ipxe.iso"), "iPXE 1"),
        Real(
            *("rescue.iso", (f"grub-rescue-pc:{_ARCH}",)),
            file_at("usr/lib/grub-rescue/grub-rescue-cdrom.iso"),
            "GNU GRUB",
        ),
        # With 512 MB its first dialog says so; with 1 GB it asks for the language, twice as late.
        Real(
            "installer.iso",
            (f"debian-installer-{_release()}-netboot-{_ARCH}", "isolinux", "syslinux-common"),
            _write_installer,
            "Entering low memory mode",
            seconds=400.0,
            megabytes=512,
            large=True,
        ),
    )
}
"""By name: a memory tester, a network boot, a rescue disc and an installer."""


def _key(real: Real) -> str:
    return digest((Path(__file__), real.name, *real.packages))


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
            named = " ".join(real.packages)
            print(f"bootgate: fetching a boot medium: {named}", file=sys.stderr, flush=True)
            draft = store / "packages"
            with disk("a boot medium"):
                draft.mkdir()
                tree = draft / "tree"
                unpack(real.packages, draft, tree)
                real.write(tree, store / real.name)
                shutil.rmtree(draft)

        made("real", _key(real), make)


if __name__ == "__main__":
    as_program(fetch)
