"""A room imports only rooms that stand before it (README.md, "How the rig works")."""

from __future__ import annotations

import ast
from pathlib import Path

from conftest import ROOT

# images makes what gets booted: it knows the ground floor only, and gadget and above use it.
ORDER = [
    {"errors", "deadline", "observation", "owner"},
    {"images"},
    {"qemu", "console"},
    {"firmware"},
    {"gadget"},
    {"cable"},
    {"host"},
    {"outcome"},
    {"equipment"},
    {"rig"},
    {"report"},
    {"plugin"},
    {"validation"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "images":
        return "images"
    return parts[1] if parts[0] == "harness" and len(parts) > 1 else None


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {room for room in map(room_of, names) if room in FLOOR}
    return found


def test_rooms_import_only_what_stands_before_them() -> None:
    checked = set()
    for path in [*ROOT.glob("harness/**/*.py"), *ROOT.glob("images/*.py")]:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        room = room_of(module.removesuffix(".__init__"))
        if room is None:  # the package itself
            continue
        checked.add(room)
        for other in imported(path) - {room}:
            assert FLOOR[other] <= FLOOR[room], f"{module} imports {other}"
    assert checked == set(FLOOR)


def test_readme_tells_the_order() -> None:
    readme = (ROOT / "README.md").read_text()
    told = [readme.index(f"`{room}`") for room in ("firmware", "gadget", "cable", "host", "cli")]
    assert told == sorted(told)
