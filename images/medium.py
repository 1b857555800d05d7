"""Media: what can be in the virtual drive. Made without root, ISO images by xorriso."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

from harness.owner import disk, run_tool
from images.cache import digest, made
from images.emmc import write_table
from images.payload import marker_sector, meddler, write_boot_disk
from images.real import real_medium

ISO_FILL = 1 << 20
"""Bytes of a file in each ISO image: SeaBIOS refuses a CD-ROM of less than 300 sectors of 2048
bytes, and so does the kernel's f_mass_storage (storage_common.c, fsg_lun_open)."""

BOOT_IMAGE = "BOOT.BIN"
CD_SECTOR = 2048
"""Bytes (ECMA-119, 6.1.2)."""


def write_iso(path: Path, label: str, disk_label: str = "") -> None:
    """Write an ISO 9660 image that boots a marker payload from a CD-ROM drive.

    That is El Torito without emulation; the payload says "booted from LABEL". With `disk_label`
    it is a hybrid: as a disk it boots another, through a master boot record in its system area
    (ECMA-119, 6.2.1), which says that. Raises ToolError, DiskFull.
    """
    record = marker_sector(disk_label) if disk_label else b""
    write_bootable(path, marker_sector(label), record)


def write_bootable(
    path: Path, code: bytes, record: bytes = b"", *, boot_last: bool = False
) -> None:
    """Write an ISO 9660 image that boots `code`: El Torito without emulation, 2048 bytes at most.

    A master boot record makes it a hybrid; with `boot_last` what it boots lies at its end. Raises
    ToolError, DiskFull.
    """

    def make(entry: Path) -> None:
        tree = entry / "tree"
        with disk("an ISO image"):
            tree.mkdir()
            (tree / BOOT_IMAGE).write_bytes(code.ljust(CD_SECTOR, b"\0"))
            (tree / "FILL").write_bytes(bytes(ISO_FILL))
            (entry / "record").write_bytes(record)
        # El Torito 1.0, 2.2: no emulation, four sectors of 512 bytes.
        boot = ["-b", BOOT_IMAGE, "-no-emul-boot", "-boot-load-size", "4", "-c", "BOOT.CAT"]
        hybrid = ["-G", str(entry / "record")] if record else []
        # What is booted weighs a billion at most (xorrisofs, --sort-weight).
        order = ["--sort-weight", "2000000000", "/FILL"] if boot_last else []
        command = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "BOOTGATE", *boot, *hybrid, *order]
        run_tool([*command, "-o", str(entry / "iso"), str(tree)], package="xorriso")
        with disk("an ISO image"):
            shutil.rmtree(tree)

    entry = made("iso", digest([Path(__file__), code, record, str(boot_last)]), make)
    with disk("an ISO image"):
        shutil.copyfile(entry / "iso", path)


DATA_ONLY_SIZE = 4 << 20
DATA_ONLY = ("vfat", "exfat", "gpt")
"""A file system on all of a disk, or a GUID partition table on a disk that holds nothing else."""


def _write_data_only(kind: str, entry: Path) -> None:
    """In the cache, for each has a number of its own that is made up."""
    path = entry / "disk"
    with disk("an image"):
        path.write_bytes(bytes(DATA_ONLY_SIZE))
    if kind == "gpt":
        write_table(path, "label: gpt\nsize=2MiB\n")
    else:
        package = {"vfat": "dosfstools", "exfat": "exfatprogs"}[kind]
        run_tool([f"mkfs.{kind}", str(path)], package=package)


class Media:
    """Makes media with the file names that they shall have on the device."""

    def __init__(self, folder: Path) -> None:
        """They are put into `folder`, which stays the caller's."""
        self._folder = folder

    def disk(self, name: str, label: str) -> Path:
        """A disk image whose boot sector says "booted from LABEL"."""
        write_boot_disk(self._folder / name, label)
        return self._folder / name

    def iso(self, name: str, label: str, disk_label: str = "") -> Path:
        """An ISO image, hybrid if it has a label for the disk too (`write_iso`)."""
        write_iso(self._folder / name, label, disk_label)
        return self._folder / name

    def meddler(self, name: str) -> Path:
        """An ISO image for a drive of the PC's own: it tries all that a BIOS can do to a disk."""
        write_bootable(self._folder / name, meddler())
        return self._folder / name

    def real(self, name: str) -> Path:
        """One of the media that people use (images/real.py). Raises ToolError when it lacks."""
        with disk("an image"):
            shutil.copyfile(real_medium(name), self._folder / name)
        return self._folder / name

    def data_only(self, name: str, kind: str) -> Path:
        """A disk image that holds no code: one of `DATA_ONLY`. Raises ToolError, DiskFull."""
        entry = made("disk", digest([Path(__file__), kind]), partial(_write_data_only, kind))
        with disk("an image"):
            shutil.copyfile(entry / "disk", self._folder / name)
        return self._folder / name

    def cut_iso(self, name: str, sectors: int) -> Path:
        """An ISO image cut off after so many of its sectors, before what it boots.

        Raises ToolError, DiskFull.
        """
        path = self._folder / name
        write_bootable(path, marker_sector("cut"), boot_last=True)
        with disk("an image"):
            os.truncate(path, sectors * CD_SECTOR)
        return path

    def file(self, name: str, content: bytes) -> Path:
        """An image that holds just this."""
        with disk("an image"):
            (self._folder / name).write_bytes(content)
        return self._folder / name
