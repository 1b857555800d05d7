"""The gadget VM's root file system: Debian's busybox, usbredirect and usbip, kernel modules.

Nothing is compiled and nothing needs root: files are copied into a folder, shared libraries
as the dynamic linker lists them, and cpio packs it with root as the owner of everything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ToolError
from harness.owner import disk, find_tool
from images.cache import digest, made
from images.kernel import BASE, DRIVE, UDC, Kernel, unpacked_module

SCRIPTS = Path(__file__).parent / "gadget_vm"
PROGRAMS = {"usbredirect": "usbredirect", "usbip": "usbip", "usbipd": "usbip"}
"""Dynamically linked programs of the VM, each with its Debian package."""

FOLDERS = "bin sbin usr/bin usr/sbin proc sys dev etc/init.d lib/bootgate/modules"


@dataclass(frozen=True)
class GadgetImage:
    """What the gadget VM boots: `key` covers the content of all of it."""

    key: str
    kernel: Kernel
    initramfs: Path


def gadget_image(kernel: Kernel) -> GadgetImage:
    """Make the root file system, or take it from the cache.

    Raises ToolError when a program that goes in is missing or broken, DiskFull.
    """
    groups = _module_groups(kernel)
    programs = [Path(find_tool(name, package)) for name, package in PROGRAMS.items()]
    busybox = _static_busybox()
    libraries = sorted({library for program in programs for library in _libraries(program)})
    scripts = sorted(SCRIPTS.iterdir())
    modules = [file for group in groups.values() for file in group]
    parts: list[str | Path] = [Path(__file__), kernel.image, busybox]
    for file in (*programs, *libraries, *scripts, *modules):
        parts += [str(file.name), file]
    key = digest(parts)

    def make(entry: Path) -> None:
        root = entry / "root"
        with disk("the gadget VM's root file system"):
            for folder in FOLDERS.split():
                (root / folder).mkdir(parents=True)
            shutil.copy(busybox, root / "bin/busybox")
            for program in programs:
                shutil.copy(program, root / "usr/bin")
            for library in libraries:
                place = root / library.relative_to("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, place)
            for script in scripts:
                shutil.copy(script, root / "lib/bootgate")
            (root / "lib/bootgate/init").rename(root / "init")
            for name, files in groups.items():
                for file in files:
                    plain = root / "lib/bootgate/modules" / file.name.split(".ko")[0]
                    plain.with_suffix(".ko").write_bytes(unpacked_module(file))
                names = (file.name.split(".ko")[0] + ".ko" for file in files)
                (root / "lib/bootgate/modules" / name).write_text("\n".join(names) + "\n")
            # Sourced by init scripts; a device has one.
            (root / "etc/profile").write_text("export PATH=/bin:/sbin:/usr/bin:/usr/sbin\n")
            _pack(root, entry / "initramfs")
            shutil.rmtree(root)

    entry = made("gadget-image", key, make)
    return GadgetImage(key, kernel, entry / "initramfs")


def _module_groups(kernel: Kernel) -> dict[str, list[Path]]:
    """The module files of "base", and of "drive" and each UDC without those of "base"."""
    base = kernel.load_order(BASE)
    groups = {"base": list(base)}
    for name, wanted in (*UDC.items(), ("drive", DRIVE)):
        groups[name] = [file for file in kernel.load_order(wanted) if file not in base]
    return groups


def _static_busybox() -> Path:
    program = Path(find_tool("busybox", "busybox-static"))
    with disk("busybox"):
        data = program.read_bytes()
    # A program that the kernel starts without a dynamic linker has no PT_INTERP.
    if not data.startswith(b"\x7fELF") or b"/ld-linux" in data[:4096]:
        raise ToolError(f"{program} is not statically linked: install package busybox-static")
    return program


def _libraries(program: Path) -> list[Path]:
    """The shared libraries of `program`, its dynamic linker among them (ldd(1))."""
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    missing = re.findall(r"^\s*(\S+) => not found", done.stdout, re.M)
    if done.returncode != 0 or missing:
        why = f"lacks {', '.join(missing)}" if missing else "is no program"
        raise ToolError(f"{program} {why}: reinstall its package")
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", done.stdout)]


def _pack(root: Path, target: Path) -> None:
    names = "\n".join(sorted(str(p.relative_to(root)) for p in root.rglob("*")))
    with open(target, "wb") as archive:
        done = subprocess.run(
            [find_tool("cpio", "cpio"), "-o", "-H", "newc", "-R", "0:0", "--quiet"],
            cwd=root,
            input=names.encode(),
            stdout=archive,
            stderr=subprocess.PIPE,
            check=False,
        )
    if done.returncode != 0:
        raise ToolError(f"cpio failed: {done.stderr.decode(errors='replace').strip()}")
