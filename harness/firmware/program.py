"""The device's own server as a program: whether the gadget VM can run it, and what it needs.

It is firmware: it is read here, never run, and neither is the dynamic linker on it (ldd(1) may
run the program).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from harness.errors import UsageError
from harness.firmware.entries import show
from harness.firmware.nanokvm import SERVER_IN_TREE, TREE
from harness.owner import find_tool

MACHINE = "EM_X86_64"
"""Of the gadget VM's processor, as ELF has it (System V ABI, "e_machine")."""

FOLDERS = (
    "lib",
    "lib64",
    "usr/lib",
    "usr/lib64",
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
)
"""Where a library of an overlay is looked for (ld.so(8), and Debian's own)."""


def why_not(kvmapp: Path) -> str:
    """Why the server of the tree cannot be run in the gadget VM; "" when it can.

    No link is followed that leads out of the tree.
    """
    program = Path(os.path.realpath(kvmapp / SERVER_IN_TREE))
    if not program.is_relative_to(os.path.realpath(kvmapp)) or not program.is_file():
        return "no server supplied: the tree holds none, and --server names none"
    where = f"{TREE}/{SERVER_IN_TREE}"
    if why := machine_of(program):
        return f"no server supplied: {where}: {why}, and --server names none"
    return "" if os.access(program, os.X_OK) else f"no server supplied: {where} is not executable"


def machine_of(program: Path) -> str:
    """Why the gadget VM cannot run it: "" when it can."""
    try:
        with open(program, "rb") as file:
            if file.read(2) == b"#!":
                return ""
            file.seek(0)
            machine = str(ELFFile(file)["e_machine"])
    except (OSError, ELFError) as error:
        return f"it is no program ({error})"
    if machine == MACHINE:
        return ""
    kind = machine.removeprefix("EM_").lower()
    return f"it is a program for {kind}, the gadget VM is an x86-64 machine"


def libraries(program: Path, overlay: Path | None) -> dict[str, Path]:
    """The shared libraries that a program needs, its dynamic linker among them.

    By their place on the device, relative to its root; none for a static program or a script.
    What `overlay` holds itself is not among them. Raises UsageError when one is nowhere.
    """
    here = _here()
    linker, _ = _needs(program)
    # Libraries name it too (libc.so.6); it is loaded already.
    known = {Path(linker).name}
    found = {}
    if linker and not _within(overlay, [linker]):
        if str(Path(linker).parent).lstrip("/") not in FOLDERS or not Path(linker).is_file():
            raise UsageError(
                f"--server {show(program)} names the dynamic linker {show(linker)}, which is "
                "neither in --overlay nor on this machine"
            )
        found[linker.lstrip("/")] = Path(linker)
    ahead = [program]
    while ahead:
        for name in _needs(ahead.pop())[1]:
            if name in known or _within(overlay, [f"{folder}/{name}" for folder in FOLDERS]):
                continue
            path = here.get(name)
            if path is None or not path.is_file():
                raise UsageError(
                    f"--server {show(program)} needs {show(name)}, which is neither in --overlay "
                    "nor on this machine"
                )
            known.add(name)
            found[str(path).lstrip("/")] = path
            ahead.append(path)
    return found


def _needs(program: Path) -> tuple[str, list[str]]:
    """The dynamic linker that a program names (PT_INTERP), and its libraries (DT_NEEDED)."""
    with open(program, "rb") as file:
        if file.read(2) == b"#!":
            return "", []
        file.seek(0)
        try:
            segments = list(ELFFile(file).iter_segments())
            linkers = [str(s.get_interp_name()) for s in segments if isinstance(s, InterpSegment)]
            needed = [
                str(getattr(tag, "needed"))  # noqa: B009 (pyelftools makes it up)
                for segment in segments
                if isinstance(segment, DynamicSegment)
                for tag in segment.iter_tags("DT_NEEDED")
            ]
        except (ELFError, OSError, ValueError, OverflowError, AttributeError) as error:
            raise UsageError(f"{show(program)} is damaged: {error}") from error
    return next(iter(linkers), ""), needed


def _within(overlay: Path | None, names: Iterable[str]) -> bool:
    return overlay is not None and any((overlay / name.lstrip("/")).exists() for name in names)


def _here() -> dict[str, Path]:
    """This machine's libraries for x86-64 by their names (ldconfig(8), -p)."""
    done = subprocess.run(
        [find_tool("ldconfig", "libc-bin"), "-p"], capture_output=True, text=True, check=False
    )
    lines = re.findall(r"^\s*(\S+) \(libc6,x86-64[^)]*\) => (\S+)", done.stdout, re.M)
    return {name: Path(path) for name, path in reversed(lines)}
