"""Which files of a kernel's module folder must be inserted, and in which order.

Asked of the lists that depmod(8) writes, as modprobe(8) does: modules are renamed, split and
built in from one kernel to the next, but the lists say who can do what. Not asked is what a
processor or a device would ask for, as the gadget VM's are always the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from harness.errors import ToolError

LISTS = ("modules.dep", "modules.builtin", "modules.softdep", "modules.alias")
"""Those that are read here; the first two must be there."""


class Modules:
    """The lists of one module folder, that of kernel `version`."""

    def __init__(self, folder: Path, version: str) -> None:
        """Read them. Raises ToolError when they cannot be read or are damaged."""
        self._folder = folder
        self._version = version
        self._needs = _dependencies(folder, version)
        self._files = {module_name(path): path for path in self._needs}
        self._built_in = {module_name(line) for line in lines(folder / "modules.builtin")}
        self._soft = _soft_dependencies(folder)
        self._aliases = _aliases(folder, self._files)

    def load_order(self, names: Iterable[str]) -> tuple[Path, ...]:
        """The files to insert for `names`, dependencies first; built-in ones left out.

        Raises ToolError when one is neither a module nor built in, or a file is gone.
        """
        order: dict[str, None] = {}
        begun: set[str] = set()

        def add(path: str) -> None:
            if path in begun:
                return
            begun.add(path)
            for other in (*self._wanted_before(path), *reversed(self._needs[path])):
                add(other)
            order[path] = None

        for name in names:
            path = self._find(name)
            if path is not None:
                add(path)
            elif _plain(name) not in self._built_in:
                raise ToolError(f"kernel {self._version} has no module {name}")
        gone = next((path for path in order if not (self._folder / path).is_file()), None)
        if gone is not None:
            raise ToolError(f"kernel {self._version} has lost its module {gone}: reinstall it")
        return tuple(self._folder / path for path in order)

    def _find(self, name: str) -> str | None:
        """The file of the module that is called `name`, or else can do what that names."""
        name = _plain(name)
        if name in self._files or name in self._built_in:
            return self._files.get(name)
        return self._aliases.get(name)

    def _wanted_before(self, path: str) -> list[str]:
        """What the module asks for by an ability: ext4, up to Linux 6.14, any crc32c.

        What is not found is built in, or the kernel can do without (modprobe.d(5), softdep).
        """
        found = (self._find(name) for name in self._soft.get(module_name(path), ()))
        return [file for file in found if file is not None]


def _dependencies(folder: Path, version: str) -> dict[str, list[str]]:
    """modules.dep (modules.dep(5)): "path: path path", relative to the folder."""
    found = [line for line in lines(folder / "modules.dep") if line.strip()]
    needs = {path: needed.split() for path, _, needed in (x.partition(":") for x in found)}
    known = all(other in needs for needed in needs.values() for other in needed)
    if not known or not all(":" in line for line in found):
        raise ToolError(f"kernel {version}: its modules.dep is damaged: reinstall it")
    return needs


def _soft_dependencies(folder: Path) -> dict[str, list[str]]:
    """modules.softdep: "softdep NAME pre: NAMES post: NAMES", each part may be missing."""
    found: dict[str, list[str]] = {}
    for line in _optional_lines(folder / "modules.softdep"):
        match = re.match(r"softdep (\S+)\b.*? pre: ([^:]*?)(?: post:.*)?$", line)
        if match:
            found.setdefault(_plain(match[1]), []).extend(match[2].split())
    return found


def _aliases(folder: Path, files: dict[str, str]) -> dict[str, str]:
    """modules.alias: "alias ABILITY NAME". Ability -> file of the first that has it.

    Left out are modules for one kind of processor (MODULE_DEVICE_TABLE(x86cpu, ...)), such as
    crc32c_intel: another processor refuses them.
    """
    # Most are patterns of what a device says of itself: nobody asks for those by name.
    plain = re.compile(r"alias (cpu:\S+|[^\s*?\[]+) (\S+)$")
    matches = (plain.match(line) for line in _optional_lines(folder / "modules.alias"))
    pairs = [(m[1], m[2]) for m in matches if m is not None and _plain(m[2]) in files]
    special = {name for ability, name in pairs if ability.startswith("cpu:")}
    found: dict[str, str] = {}
    for ability, name in sorted(pairs):
        if name not in special:
            found.setdefault(_plain(ability), files[_plain(name)])
    return found


def lines(path: Path) -> list[str]:
    """The lines of a list. Raises ToolError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError(f"cannot read the kernel's {path}: {error}") from error


def _optional_lines(path: Path) -> list[str]:
    return lines(path) if path.exists() else []


def module_name(path: str) -> str:
    """The name of the module in a file: "usbip_vudc" for "kernel/.../usbip-vudc.ko.xz"."""
    return _plain(path.rpartition("/")[2].split(".ko")[0])


def _plain(name: str) -> str:
    return name.replace("-", "_")
