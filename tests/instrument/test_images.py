"""What is booted: the eMMC's image, boot payloads, the gadget VM's root file system."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.errors import RigFault, ToolError
from harness.owner import find_tool
from images import emmc, initramfs, payload
from images.emmc import BOOT_START, DATA_SIZE, EMMC_SIZE, MIB, write_emmc
from images.initramfs import gadget_image
from images.kernel import BASE, MODULES, UDC, Kernel
from images.payload import TEXT_OFFSET, assembled, marker_sector, write_boot_disk


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("BOOTGATE_CACHE", str(path))
    return path


def output(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [find_tool(name, name), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


# --- eMMC -----------------------------------------------------------------------------------


@pytest.fixture
def kvmapp(tmp_path: Path) -> Path:
    tree = tmp_path / "kvmapp"
    script = tree / "system" / "init.d" / "S03usbdev"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (tree / "link").symlink_to("system/init.d/S03usbdev")
    (tree / "dangling").symlink_to("/proc/cviusb")
    return tree


def write(
    path: Path,
    kvmapp: Path,
    data_partition: str = "blank",
    boot_files: Mapping[str, bytes] | None = None,
    media: tuple[Path, ...] = (),
    digest: str = "digest",
) -> Path:
    write_emmc(
        path,
        kvmapp=kvmapp,
        firmware_digest=digest,
        boot_files=boot_files or {},
        data_partition=data_partition,
        media=media,
    )
    return path


def partitions(image: Path) -> list[dict[str, int | str]]:
    """The partition table as sfdisk reads it; "start" and "size" in bytes here."""
    table = json.loads(output("sfdisk", "--json", str(image)))["partitiontable"]
    assert table["label"] == "dos"
    assert table["sectorsize"] == 512
    return [
        {"type": p["type"], "start": p["start"] * 512, "size": p["size"] * 512}
        for p in table["partitions"]
    ]


def read(image: Path, offset: int, count: int) -> bytes:
    with open(image, "rb") as file:
        file.seek(offset)
        return file.read(count)


def debugfs(image: Path, partition: dict[str, int | str], request: str) -> str:
    """Ask debugfs of the root file system, which it finds in the image by its offset."""
    return output("debugfs", "-R", request, f"{image}?offset={partition['start']}")


def test_the_emmc_has_what_the_device_has(tmp_path: Path, kvmapp: Path, cache: Path) -> None:
    medium = tmp_path / "boot disk.img"
    medium.write_bytes(b"medium" * 1000)
    image = write(
        tmp_path / "emmc",
        kvmapp,
        "exfat",
        {"usb.disk0": b"", "usb.rndis0": b"", "usb.vid": b"0x3346\n"},
        (medium,),
    )
    boot, root, data = partitions(image)
    assert [p["type"] for p in (boot, root, data)] == ["c", "83", "7"]
    assert boot["start"] == BOOT_START
    assert root["start"] == int(boot["start"]) + int(boot["size"])
    assert data["start"] == int(root["start"]) + int(root["size"])
    assert data["size"] == DATA_SIZE

    # One size for all, and mostly holes; so is what the cache keeps of it.
    (kept,) = cache.glob("emmc/*/image")
    for file in (image, kept):
        assert file.stat().st_size == EMMC_SIZE
        assert file.stat().st_blocks * 512 < 8 * MIB

    drive = f"{image}@@{BOOT_START}"
    assert output("mdir", "-b", "-i", drive, "::").split() == [
        "::/usb.disk0",
        "::/usb.rndis0",
        "::/usb.vid",
    ]
    assert output("mcopy", "-i", drive, "::usb.vid", "-") == "0x3346\n"
    assert output("mcopy", "-i", drive, "::usb.disk0", "-") == ""

    script = debugfs(image, root, "stat /kvmapp/system/init.d/S03usbdev")
    assert "Mode:  0755" in script
    assert 'dest: "system/init.d/S03usbdev"' in debugfs(image, root, "stat /kvmapp/link")
    assert 'dest: "/proc/cviusb"' in debugfs(image, root, "stat /kvmapp/dangling")
    listed = debugfs(image, root, 'cat "/media/boot disk.img"')
    assert listed == "medium" * 1000
    assert "User:     0   Group:     0" in debugfs(image, root, "stat /")


def test_data_partitions_hold_what_they_are_called(tmp_path: Path, kvmapp: Path) -> None:
    images = {kind: write(tmp_path / kind, kvmapp, kind) for kind in emmc.DATA_PARTITIONS}
    starts = {kind: int(partitions(image)[2]["start"]) for kind, image in images.items()}
    # Boot sector of exFAT: name at byte 3, signature at its end (exFAT specification, 3.1).
    sector = read(images["exfat"], starts["exfat"], 512)
    assert sector[3:11] == b"EXFAT   "
    assert sector[510:] == b"\x55\xaa"
    # ext4: s_magic in the superblock at 1024 (Linux, fs/ext4/ext4.h); no boot sector at all.
    assert read(images["ext4"], starts["ext4"] + 1024 + 56, 2) == b"\x53\xef"
    assert read(images["ext4"], starts["ext4"], 512) == bytes(512)
    assert not any(read(images["blank"], starts["blank"], DATA_SIZE))
    # Nothing is written behind the last partition.
    assert {i.stat().st_size for i in images.values()} == {EMMC_SIZE}


def test_cases_share_what_they_can_and_nothing_else(
    tmp_path: Path, kvmapp: Path, cache: Path
) -> None:
    first = write(tmp_path / "1", kvmapp, boot_files={"usb.disk0": b"/data/a.iso\n"})
    second = write(tmp_path / "2", kvmapp)
    assert len(list((cache / "emmc").iterdir())) == 1
    assert output("mdir", "-b", "-i", f"{first}@@{BOOT_START}", "::").split() == ["::/usb.disk0"]
    listed = subprocess.run(
        [find_tool("mdir", "mtools"), "-b", "-i", f"{second}@@{BOOT_START}", "::"],
        capture_output=True,
        check=False,
    )
    assert b"usb.disk0" not in listed.stdout, "one case's gate files must not be in the next"
    write(tmp_path / "3", kvmapp, digest="another firmware")
    medium = tmp_path / "a.iso"
    medium.write_bytes(b"1")
    write(tmp_path / "4", kvmapp, media=(medium,))
    medium.write_bytes(b"2")
    write(tmp_path / "5", kvmapp, media=(medium,))
    assert len(list((cache / "emmc").iterdir())) == 4


def test_too_large_a_firmware_is_refused(
    tmp_path: Path, kvmapp: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emmc, "ROOT_SIZE", 4 * MIB)
    with pytest.raises(ToolError, match="do not fit on the device's root partition of 4 MiB"):
        write(tmp_path / "emmc", kvmapp)
    assert list((cache / "emmc").iterdir()) == []


def test_more_gate_files_than_boot_holds_are_a_rig_fault(tmp_path: Path, kvmapp: Path) -> None:
    with pytest.raises(RigFault, match="mcopy"):
        write(tmp_path / "emmc", kvmapp, boot_files={"usb.disk0": bytes(20 * MIB)})


def test_an_unknown_data_partition_is_refused(tmp_path: Path, kvmapp: Path) -> None:
    with pytest.raises(ValueError, match="ntfs"):
        write(tmp_path / "emmc", kvmapp, "ntfs")


def test_an_image_that_was_cut_off_in_the_cache_is_made_again(
    tmp_path: Path, kvmapp: Path, cache: Path
) -> None:
    write(tmp_path / "emmc", kvmapp)
    (base,) = (cache / "emmc").glob("*/image")
    os.truncate(base, 20 * MIB)
    assert len(partitions(write(tmp_path / "again", kvmapp))) == 3
    assert (tmp_path / "again").stat().st_size == EMMC_SIZE


# --- payloads -------------------------------------------------------------------------------


def test_the_boot_sector_is_labelled_and_bootable() -> None:
    sector = marker_sector("next-device")
    assert len(sector) == 512
    assert sector[510:] == b"\x55\xaa"
    text = b"bootgate: booted from next-device\n\0"
    assert sector[TEXT_OFFSET : TEXT_OFFSET + len(text)] == text
    # The code looks for it there: MOV SI, imm16 (Intel SDM 2, MOV) with the sector at 7C00h.
    assert b"\xbe" + (0x7C00 + TEXT_OFFSET).to_bytes(2, "little") in sector[:TEXT_OFFSET]
    unlabelled = assembled("marker")
    assert sector[:TEXT_OFFSET] == unlabelled[:TEXT_OFFSET]
    assert sector[TEXT_OFFSET + 0x80 :] == unlabelled[TEXT_OFFSET + 0x80 :]
    assert not any(unlabelled[TEXT_OFFSET : TEXT_OFFSET + 0x80])
    # One active partition, inside the disk (MBR: four entries of 16 bytes from 446 on).
    entry = sector[446:462]
    assert entry[0] == 0x80
    first, count = (int.from_bytes(entry[i : i + 4], "little") for i in (8, 12))
    assert (first + count) * 512 <= payload.DISK_SIZE
    assert not any(sector[462:510])


def test_labels_that_do_not_fit() -> None:
    longest = payload.TEXT_SIZE - len(payload.MARK) - 2
    assert marker_sector("x" * longest)[TEXT_OFFSET + payload.TEXT_SIZE - 1] == 0
    with pytest.raises(ValueError, match="label too long"):
        marker_sector("x" * (longest + 1))
    with pytest.raises(ValueError, match="ascii"):
        marker_sector("m\u00e9dium")


def test_a_payload_that_was_damaged_in_the_cache_is_made_again(cache: Path) -> None:
    whole = assembled("marker")
    (file,) = (cache / "payload").glob("*/bin")
    os.truncate(file, 100)
    assert assembled("marker") == whole


def test_a_payload_that_vanishes_is_a_rig_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload, "made", lambda kind, key, make: tmp_path)
    with pytest.raises(RigFault, match=r"cannot read a boot payload: .*bin"):
        assembled("marker")


def test_a_boot_disk_is_a_sector_and_zeros(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"\xff" * (2 << 20))  # what was there before is gone
    write_boot_disk(path, "medium")
    assert path.read_bytes() == marker_sector("medium") + bytes(payload.DISK_SIZE - 512)


def test_a_payload_is_assembled_anew_when_its_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload, "SOURCES", tmp_path)
    (tmp_path / "a.asm").write_text("db 1\n")
    assert assembled("a") == b"\x01"
    (tmp_path / "a.asm").write_text("db 2\n")
    assert assembled("a") == b"\x02"
    (tmp_path / "a.asm").write_text("no such instruction\n")
    with pytest.raises(ToolError, match="nasm failed"):
        assembled("a")


# --- the gadget VM's root file system -------------------------------------------------------


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A made-up kernel: each module is an ELF signature and its name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    names = ["udc-core", *(name.replace("_", "-") for name in MODULES)]
    for name in names:
        (folder / f"{name}.ko").write_bytes(b"\x7fELF" + name.encode())
    # One dependency of its own, and one that "base" brings in anyway.
    needs = {"dummy-hcd": " udc-core.ko", "vhci-hcd": " usbcore.ko"}
    (folder / "modules.dep").write_text("".join(f"{n}.ko:{needs.get(n, '')}\n" for n in names))
    (folder / "modules.builtin").write_text("")
    image = tmp_path / "vmlinuz"
    image.write_bytes(b"kernel")
    return Kernel("6.1.0", image, folder)


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "scripts"
    shutil.copytree(initramfs.SCRIPTS, copy)
    monkeypatch.setattr(initramfs, "SCRIPTS", copy)
    return copy


def unpacked(archive: Path, folder: Path) -> Path:
    folder.mkdir()
    with open(archive, "rb") as file:
        subprocess.run(
            [find_tool("cpio", "cpio"), "-i", "-d", "--quiet"], cwd=folder, stdin=file, check=True
        )
    return folder


def test_the_initramfs_has_all_that_its_scripts_name(
    tmp_path: Path, kernel: Kernel, scripts: Path
) -> None:
    image = gadget_image(kernel)
    listed = output("cpio", "-i", "-t", "-v", "--quiet", "-F", str(image.initramfs))
    assert all(line.split()[2:4] == ["root", "root"] for line in listed.splitlines())
    root = unpacked(image.initramfs, tmp_path / "root")
    assert (root / "init").read_bytes() == (scripts / "init").read_bytes()
    for program in ("init", "bin/busybox", "usr/bin/usbredirect", "usr/bin/usbip"):
        assert os.access(root / program, os.X_OK), program
    # Whatever is linked dynamically finds its libraries and its linker.
    done = subprocess.run(["ldd", root / "usr/bin/usbredirect"], capture_output=True, check=True)
    for word in done.stdout.decode().split():
        if word.startswith("/"):
            assert (root / word.lstrip("/")).is_file(), word
    for script in scripts.iterdir():
        if script.name != "init":
            there = root / "lib/bootgate" / script.name
            assert there.read_bytes() == script.read_bytes(), script.name
            assert os.access(there, os.X_OK) == there.read_bytes().startswith(b"#!"), script.name


def test_an_initramfs_that_is_gone_is_made_again(kernel: Kernel, scripts: Path) -> None:
    image = gadget_image(kernel)
    image.initramfs.unlink()
    again = gadget_image(kernel)
    assert again.key == image.key
    assert again.initramfs.is_file()


def test_the_initramfs_has_its_modules_in_load_order(
    tmp_path: Path, kernel: Kernel, scripts: Path
) -> None:
    root = unpacked(gadget_image(kernel).initramfs, tmp_path / "root")
    folder = root / "lib/bootgate/modules"
    lists = {name: (folder / name).read_text().split() for name in ("base", *UDC)}
    assert lists == {
        "base": [f"{name.replace('_', '-')}.ko" for name in BASE],
        "dummy_hcd": ["udc-core.ko", "dummy-hcd.ko"],
        "usbip-vudc": ["usbip-vudc.ko", "vhci-hcd.ko"],
    }
    for name in {name for names in lists.values() for name in names}:
        assert (folder / name).read_bytes() == b"\x7fELF" + name.removesuffix(".ko").encode()


def test_the_initramfs_is_made_anew_when_anything_in_it_changes(
    kernel: Kernel, scripts: Path, cache: Path
) -> None:
    keys = [gadget_image(kernel).key]
    assert gadget_image(kernel).key == keys[0]
    with open(scripts / "state", "a") as file:
        file.write("# changed\n")
    keys.append(gadget_image(kernel).key)
    (kernel.modules / "loop.ko").write_bytes(b"\x7fELF changed")
    keys.append(gadget_image(kernel).key)
    kernel.image.write_bytes(b"another kernel")
    keys.append(gadget_image(kernel).key)
    assert len(set(keys)) == 4
    assert {p.name.split(".")[0] for p in (cache / "gadget-image").iterdir()} == set(keys)


def test_a_program_that_is_no_program_stops_it(
    tmp_path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    linked = Path(find_tool("setpriv", "util-linux")).read_bytes()  # dynamically
    for content in (b"#!/bin/sh\n", linked):
        (programs / "busybox").write_bytes(content)
        (programs / "busybox").chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(programs), prepend=os.pathsep)
            with pytest.raises(ToolError, match="busybox-static"):
                gadget_image(kernel)
    (programs / "busybox").unlink()
    (programs / "usbip").write_text("#!/bin/sh\n")
    (programs / "usbip").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    with pytest.raises(ToolError, match="usbip is no program"):
        gadget_image(kernel)
