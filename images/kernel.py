"""A Linux kernel for the gadget VM: any that has what the VM needs.

Looked for in this order: the newest installed one (/boot and /lib/modules), then one that
`python -m images.kernel` unpacked into the cache from the distribution's kernel package,
without root and without installing it (installing a kernel changes how a machine boots).
A kernel counts when every module in `MODULES` is there or built in, and so is all it needs.
"""

from __future__ import annotations

import lzma
import re
import shutil
import sys
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.errors import ToolError
from harness.owner import disk, run_tool
from images.cache import digest, found, made
from images.modules import LISTS, Modules, lines
from images.packages import as_program, unpack

BASE = (
    "configfs",
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "libcomposite",
    "usb_f_mass_storage",
    "usb_f_hid",
    "usb_f_rndis",
    "usb_f_ncm",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_utf8",
    "nls_iso8859_1",
    "exfat",
    "ext4",
    "loop",
    "usbcore",
)
"""What every gadget VM has, by names that firmware and kernel ask for: the file systems, the
functions (configfs loads usbfunc:NAME) and the character sets (nls_NAME). What these need in
turn the kernel's lists say; ext4, for one, has wanted a crc32c under several names."""

UDC = {"dummy_hcd": ("dummy_hcd",), "usbip-vudc": ("usbip_vudc", "vhci_hcd")}
"""USB device controllers, of which each snapshot has one, and the host side of each."""

DRIVE = ("usb_storage", "sg")
"""The kernel's own way to ask a drive; loaded only where that is compared with ours."""

MODULES = (*BASE, *(module for group in UDC.values() for module in group), *DRIVE)


@dataclass(frozen=True)
class Kernel:
    """A kernel image and the folder of its modules (the one that holds modules.dep)."""

    version: str
    image: Path
    modules: Path

    def load_order(self, names: tuple[str, ...]) -> tuple[Path, ...]:
        """The module files to insert for `names`, dependencies first; built-in ones left out.

        Raises ToolError when one is neither a module nor built in, or a file is gone.
        """
        return self._lists.load_order(names)

    @cached_property
    def _lists(self) -> Modules:
        return Modules(self.modules, self.version)


def unpacked_module(path: Path) -> bytes:
    """A module's ELF file. Debian 13 packs modules with xz, other systems with zstd or gzip.

    Raises ToolError when it cannot be unpacked.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".xz":
            data = lzma.decompress(data)
        elif path.suffix == ".gz":
            data = zlib.decompress(data, wbits=31)
        elif path.suffix == ".zst":
            data = run_tool(["zstd", "-dcq", str(path)], package="zstd")
    except (OSError, lzma.LZMAError, zlib.error) as error:
        raise ToolError(f"cannot read the kernel module {path}: {error}") from error
    if not data.startswith(b"\x7fELF"):
        raise ToolError(f"{path} is no kernel module: reinstall the kernel package")
    return data


def find_kernel() -> Kernel:
    """A kernel that can do what the gadget VM needs. Raises ToolError when there is none."""
    missing = "none is installed that can be read"
    for kernel in (*_in_tree(Path("/")), *_fetched()):
        try:
            kernel.load_order(MODULES)
        except ToolError as error:
            missing = str(error)
        else:
            return kernel
    raise ToolError(f"no kernel for the gadget VM ({missing}): run ci/bootstrap")


def _newest_first(version: str) -> list[tuple[int, str]]:
    return [(int(n or 0), word) for n, word in re.findall(r"(\d+)|(\D+)", version)]


def _in_tree(root: Path) -> list[Kernel]:
    """The kernels of a file system tree, newest first."""
    found = []
    for modules in {*root.glob("lib/modules/*"), *root.glob("usr/lib/modules/*")}:
        places = (root / "boot" / f"vmlinuz-{modules.name}", modules / "vmlinuz")
        image = next((p for p in places if _readable(p)), None)
        if image is not None and (modules / "modules.dep").is_file():
            found.append(Kernel(modules.name, image, modules))
    return sorted(found, key=lambda k: _newest_first(k.version), reverse=True)


def _readable(path: Path) -> bool:
    try:
        with open(path, "rb"):
            return True
    except OSError:
        return False


def _key() -> str:
    return digest(("a kernel that was fetched", *MODULES, *LISTS))


def _fetched() -> list[Kernel]:
    store = found("kernel", _key())
    return _in_tree(store) if store is not None else []


def fetch() -> Kernel:
    """Unpack the distribution's kernel package into the cache, unless a kernel is there.

    Needs no root; downloads through apt. Raises ToolError, DiskFull.
    """
    with suppress(ToolError):
        return find_kernel()

    def make(store: Path) -> None:
        print("bootgate: fetching a kernel for the gadget VM", file=sys.stderr, flush=True)
        packages = store / "packages"
        with disk("the kernel"):
            packages.mkdir()
            _unpack_packages(packages)
            kernels = _in_tree(packages / "tree")
            if not kernels:
                raise ToolError("the distribution's kernel package holds no kernel with modules")
            _keep(kernels[0], store)
            shutil.rmtree(packages)

    made("kernel", _key(), make)
    return find_kernel()


NOT_NEEDED = (
    *("--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks"),
    *("--no-replaces", "--no-enhances", "--no-pre-depends"),
)


def _unpack_packages(draft: Path) -> None:
    """Download the kernel's packages and unpack them under draft/tree.

    Which packages those are is asked of apt: everything that linux-image-ARCH depends on and
    that is called linux-* (the image; in later releases its modules are packages apart).
    """
    arch = run_tool(["dpkg", "--print-architecture"], package="dpkg").decode().strip()
    depends = run_tool(
        ["apt-cache", "depends", "--recurse", *NOT_NEEDED, f"linux-image-{arch}"], package="apt"
    ).decode()
    names = sorted(set(re.findall(r"^(linux-(?!base|doc)\S+)$", depends, re.M)))
    if not names:
        raise ToolError(f"apt knows no package linux-image-{arch}: run apt-get update as root")
    tree = draft / "tree"
    unpack(names, draft, tree)
    for modules in {*tree.glob("lib/modules/*"), *tree.glob("usr/lib/modules/*")}:
        base = modules.parents[2]
        run_tool(["depmod", "-b", str(base), modules.name], package="kmod")


def _keep(kernel: Kernel, store: Path) -> None:
    """Copy the image and the modules that are needed into `store` (a fiftieth of all)."""
    target = store / "lib" / "modules" / kernel.version
    files = kernel.load_order(MODULES)
    for file in files:
        place = target / file.relative_to(kernel.modules)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    kept = {str(file.relative_to(kernel.modules)) for file in files}
    for name in LISTS:
        if (kernel.modules / name).exists():
            shutil.copyfile(kernel.modules / name, target / name)
    depended = [x for x in lines(target / "modules.dep") if x.split(":")[0] in kept]
    (target / "modules.dep").write_text("\n".join(depended) + "\n", encoding="utf-8")
    (store / "boot").mkdir()
    shutil.copyfile(kernel.image, store / "boot" / f"vmlinuz-{kernel.version}")


if __name__ == "__main__":
    as_program(fetch)
