"""The device's eMMC as a disk image: vfat /boot, root, data partition. Made without root.

Layout as on the device (NanoKVM's genimage): p1 vfat, mounted on /boot; p2 the root file
system, here holding the firmware tree and the media that a case wants on /data; p3 data.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import ToolError
from harness.owner import disk, find_tool, run_tool
from images.cache import digest, made

DATA_PARTITIONS = ("exfat", "ext4", "blank")
"""What a data partition can hold; the device itself makes exFAT (mkfs.exfat, defaults)."""

MIB = 1 << 20
EMMC_SIZE = 1024 * MIB
"""Bytes, mostly holes."""

BOOT_START, BOOT_SIZE = 1 * MIB, 16 * MIB
DATA_SIZE = 64 * MIB
ROOT_START, DATA_START = BOOT_START + BOOT_SIZE, EMMC_SIZE - DATA_SIZE
ROOT_SIZE = DATA_START - ROOT_START
ROOT_SLACK = 8 * MIB

PARTITION_TABLE = "label: dos\nlabel-id: 0x626f6f74\n" + "".join(
    f"start={start // 512}, size={size // 512}, type={kind}\n"
    for start, size, kind in (
        (BOOT_START, BOOT_SIZE, "c"),
        (ROOT_START, ROOT_SIZE, "83"),
        (DATA_START, DATA_SIZE, "7"),
    )
)
"""For sfdisk. One table and one size for all: the gadget VM's snapshot has seen the disk."""


def write_emmc(
    path: Path,
    *,
    kvmapp: Path,
    overlay: Path | None = None,
    firmware_digest: str,
    boot_files: Mapping[str, bytes],
    data_partition: str,
    media: Sequence[Path] = (),
) -> None:
    """Write the image for one case.

    `kvmapp` becomes /kvmapp, and what is in `overlay` is laid over the device's root;
    `firmware_digest` stands for both of them. `boot_files` maps names in /boot to contents;
    `media` are copied to /data under their own names when the device starts. Raises ToolError,
    DiskFull.
    """
    if data_partition not in DATA_PARTITIONS:
        raise ValueError(f"no such data partition: {data_partition!r}")
    parts: list[str | Path] = [Path(__file__), firmware_digest, data_partition]
    for medium in media:
        parts += [medium.name, medium]
    key = digest(parts)
    trees = {"kvmapp": kvmapp} | ({"overlay": overlay} if overlay else {})
    base = made("emmc", key, lambda entry: _make_base(entry, trees, data_partition, media))
    # Sparse in, sparse out; cp knows the fast ways of each file system.
    run_tool(
        ["cp", "--sparse=always", "--reflink=auto", str(base / "image"), str(path)],
        package="coreutils",
    )
    if boot_files:
        with tempfile.TemporaryDirectory(dir=path.parent) as staging, disk("the gate files"):
            files = []
            for name, content in boot_files.items():
                file = Path(staging) / name
                file.write_bytes(content)
                files.append(str(file))
            run_tool(["mcopy", "-Q", "-i", f"{path}@@{BOOT_START}", *files, "::"], package="mtools")


def _make_base(
    entry: Path, trees: Mapping[str, Path], data_partition: str, media: Sequence[Path]
) -> None:
    with disk("the eMMC image"):
        boot, root, data = (entry / name for name in ("boot", "root", "data"))
        _allocate(boot, BOOT_SIZE)
        run_tool(["mkfs.vfat", "-n", "BOOT", str(boot)], package="dosfstools")

        tree = entry / "tree"
        for name, source in trees.items():
            shutil.copytree(source, tree / name, symlinks=True)
        (tree / "media").mkdir()
        for medium in media:
            shutil.copy(medium, tree / "media")
        used = sum(f.lstat().st_size + 4096 for f in tree.rglob("*"))
        root_size = -(-(used + used // 8 + ROOT_SLACK) // MIB) * MIB
        if root_size > ROOT_SIZE:
            raise ToolError(
                f"firmware and media take {root_size // MIB} MiB: they do not fit on the device's "
                f"root partition of {ROOT_SIZE // MIB} MiB"
            )
        _allocate(root, root_size)
        run_tool(
            ["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", str(tree), str(root)],
            package="e2fsprogs",
        )
        shutil.rmtree(tree)

        _allocate(data, DATA_SIZE)
        if data_partition == "exfat":
            run_tool(["mkfs.exfat", str(data)], package="exfatprogs")
        elif data_partition == "ext4":
            run_tool(["mke2fs", "-q", "-t", "ext4", str(data)], package="e2fsprogs")
        image = entry / "image"
        write_blank(image)
        for start, partition in ((BOOT_START, boot), (ROOT_START, root), (DATA_START, data)):
            _place(image, start, partition)


def write_blank(image: Path) -> None:
    """Write an eMMC whose partitions hold nothing. Raises ToolError, DiskFull."""
    with disk("the eMMC image"):
        _allocate(image, EMMC_SIZE)
    write_table(image, PARTITION_TABLE)


def write_table(image: Path, table: str) -> None:
    """Write a partition table, in sfdisk's words, into a disk image. Raises ToolError."""
    done = subprocess.run(
        [find_tool("sfdisk", "fdisk"), "--quiet", "--no-reread", "--no-tell-kernel", str(image)],
        input=table.encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise ToolError(f"sfdisk failed: {done.stderr.decode(errors='replace').strip()}")


def _allocate(path: Path, size: int) -> None:
    with open(path, "wb") as file:
        file.truncate(size)


def _place(image: Path, start: int, partition: Path) -> None:
    """Copy what `partition` holds to byte `start` of the image, and remove it."""
    run_tool(
        [
            "dd",
            f"if={partition}",
            f"of={image}",
            "bs=1M",
            f"seek={start // MIB}",
            "conv=notrunc,sparse",
            "status=none",
        ],
        package="coreutils",
    )
    partition.unlink()
