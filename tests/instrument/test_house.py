"""A room imports only rooms that stand before it (README.md, "How the rig works")."""

from __future__ import annotations

import ast

import pytest
from conftest import ROOT

# images makes what gets booted: it knows the ground floor only, and gadget and above use it.
ORDER = [
    {"errors"},
    {"deadline", "observation", "owner"},
    {"images"},
    {"qemu", "console"},
    {"firmware"},
    {"gadget"},
    {"cable"},
    {"probe"},
    {"host"},
    {"outcome"},
    {"equipment"},
    {"rig"},
    {"report"},
    {"plugin"},
    {"validation", "probing"},
    {"cli"},
]
BY_STRING = {"import_module", "__import__"}
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "images":
        return "images"
    return parts[1] if parts[0] == "harness" and len(parts) > 1 else None


def imported(node: ast.AST) -> list[str]:
    """The modules, and the names in modules, that a statement imports."""
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def called(node: ast.AST) -> str:
    """The last part of a name that is used, such as "import_module"."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def problems(module: str, source: str) -> list[str]:
    """What the source of `module` may not import, or not in that way."""
    room = room_of(module) or ""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = imported(node)
        if isinstance(node, ast.ImportFrom) and node.level:
            found.append(f"{module}: a relative import hides which room it is from")
        elif {called(node), *(name.rpartition(".")[2] for name in names)} & BY_STRING:
            found.append(f"{module}: an import by string hides which room it is from")
        others = {other for other in map(room_of, names) if other in FLOOR} - {room}
        found += [f"{module} imports {o}" for o in others if FLOOR[o] >= FLOOR[room]]
    return found


def test_rooms_import_only_what_stands_before_them() -> None:
    checked = set()
    found = []
    for path in [*ROOT.glob("harness/**/*.py"), *ROOT.glob("images/**/*.py")]:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        room = room_of(module.removesuffix(".__init__"))
        if room is None:  # the package itself
            continue
        checked.add(room)
        found += problems(module, path.read_text())
    assert found == []
    assert checked == set(FLOOR)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("harness.qemu", "from harness.rig import Rig"),
        ("harness.qemu", "from harness import errors, rig"),
        ("harness.qemu", "def f() -> None:\n    import harness.rig as r"),
        ("harness.qemu", "from .rig import Rig"),
        ("harness.qemu", "from . import rig"),
        ("harness.gadget.vm", "from .snapshot import frozen"),
        ("harness.qemu", 'import importlib\nimportlib.import_module("harness.rig")'),
        ("harness.qemu", 'from importlib import import_module as f\nf("harness.rig")'),
        ("harness.qemu", '__import__("harness.rig")'),
        ("harness.deadline", "from harness.owner import disk"),
        ("harness.errors", "from harness.deadline import Deadline"),
        ("harness.console", "from harness.qemu import Qemu"),
        ("images.cache", "from harness.qemu import Qemu"),
    ],
)
def test_what_a_room_may_not_do(module: str, source: str) -> None:
    assert len(problems(module, source)) == 1


def test_what_a_room_may_do() -> None:
    source = "import json\nfrom harness.errors import RigFault\nfrom harness.gadget.vm import Lun"
    assert problems("harness.gadget.snapshot", source) == []


def test_readme_tells_the_order() -> None:
    readme = (ROOT / "README.md").read_text()
    told = [readme.index(f"`{room}`") for room in ("firmware", "gadget", "cable", "host", "cli")]
    assert told == sorted(told)
