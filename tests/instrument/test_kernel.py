"""Finding a kernel, in made-up file system trees."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from harness.errors import ToolError
from harness.owner import find_tool
from images import kernel
from images.cache import made
from images.kernel import MODULES, Kernel, fetch, find_kernel, unpacked_module

ELF = b"\x7fELF\x02\x01\x01" + bytes(50)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("BOOTGATE_CACHE", str(path))
    return path


def add_kernel(
    root: Path,
    version: str,
    needs: Mapping[str, Sequence[str]],
    *,
    usr: bool = False,
    built_in: Sequence[str] = (),
    image: str | None = "boot",
) -> Path:
    """Write a kernel and its module folder below `root`; `image` is where vmlinuz lies."""
    folder = root / ("usr/lib" if usr else "lib") / "modules" / version
    folder.mkdir(parents=True)
    lines = "".join(f"{path}: {' '.join(others)}".rstrip() + "\n" for path, others in needs.items())
    (folder / "modules.dep").write_text(lines)
    for path in needs:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    (folder / "modules.builtin").write_text("".join(f"{path}\n" for path in built_in))
    if image is not None:
        place = folder / "vmlinuz"
        if image == "boot":
            place = root / "boot" / f"vmlinuz-{version}"
            place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"kernel " + version.encode())
    return folder


def as_if_installed(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """As if the machine's file system tree were that at `root`."""
    real = kernel._in_tree
    monkeypatch.setattr(kernel, "_in_tree", lambda r: real(root if r == Path("/") else r))


ALL = {f"kernel/{name.replace('_', '-')}.ko.xz": () for name in MODULES}


# --- which kernel ---------------------------------------------------------------------------


def test_newest_first_by_the_versions_numbers(tmp_path: Path) -> None:
    versions = ["6.9.0-amd64", "6.12.0-amd64", "6.1.0-9-amd64", "6.1.0-10-amd64", "5.10.0-39"]
    for version in versions:
        add_kernel(tmp_path, version, {})
    found = [k.version for k in kernel._in_tree(tmp_path)]
    assert found == ["6.12.0-amd64", "6.9.0-amd64", "6.1.0-10-amd64", "6.1.0-9-amd64", "5.10.0-39"]


@pytest.mark.parametrize("usr", [False, True])
@pytest.mark.parametrize("image", ["boot", "beside its modules"])
def test_where_distributions_keep_them(tmp_path: Path, usr: bool, image: str) -> None:
    folder = add_kernel(tmp_path, "6.1.0", {}, usr=usr, image=image)
    (found,) = kernel._in_tree(tmp_path)
    assert found.version == "6.1.0"
    assert found.modules == folder
    assert found.image.read_bytes() == b"kernel 6.1.0"


def test_a_kernel_without_image_or_modules_does_not_count(tmp_path: Path) -> None:
    add_kernel(tmp_path, "6.1.1", {}, image=None)
    (add_kernel(tmp_path, "6.1.2", {}) / "modules.dep").unlink()
    # One that cannot be read: on Ubuntu vmlinuz is root's alone. Here a link into nothing,
    # as nothing stops root.
    add_kernel(tmp_path, "6.1.3", {}, image=None)
    (tmp_path / "boot" / "vmlinuz-6.1.3").symlink_to("gone")
    assert kernel._in_tree(tmp_path) == []
    add_kernel(tmp_path, "6.1.0", {})
    assert [k.version for k in kernel._in_tree(tmp_path)] == ["6.1.0"]


def test_an_unreadable_image_gives_way_to_a_readable_one(tmp_path: Path) -> None:
    folder = add_kernel(tmp_path, "6.1.0", {}, image="beside its modules")
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "vmlinuz-6.1.0").mkdir()  # opening it fails, for root too
    (found,) = kernel._in_tree(tmp_path)
    assert found.image == folder / "vmlinuz"


def test_the_newest_that_has_everything_is_taken(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    some = dict(list(ALL.items())[1:])
    add_kernel(root, "6.12", some)
    add_kernel(root, "6.9", ALL)
    add_kernel(root, "6.1", ALL)

    def make(store: Path) -> None:
        add_kernel(store, "6.20", ALL)

    made("kernel", kernel._key(), make)
    as_if_installed(monkeypatch, root)
    assert find_kernel().version == "6.9"
    for version in ("6.9", "6.1"):
        (root / "boot" / f"vmlinuz-{version}").unlink()
    assert find_kernel().version == "6.20", "what was fetched comes after what is installed"


def test_without_a_kernel_the_error_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Kernel] = []
    monkeypatch.setattr(kernel, "_in_tree", lambda root: found)
    with pytest.raises(ToolError, match=r"none is installed.*ci/bootstrap"):
        find_kernel()
    add_kernel(tmp_path, "6.1.0", {p: n for p, n in ALL.items() if "usb-f-hid" not in p})
    monkeypatch.undo()
    found += kernel._in_tree(tmp_path)
    monkeypatch.setattr(kernel, "_in_tree", lambda root: found)
    with pytest.raises(ToolError, match=r"6\.1\.0 has no module usb_f_hid"):
        find_kernel()


# --- its modules ----------------------------------------------------------------------------


def test_dependencies_come_first_and_once(tmp_path: Path) -> None:
    # depmod lists all that a module needs, the deepest last (modules.dep(5)).
    needs = {
        "kernel/fs/a.ko": ("kernel/b.ko", "kernel/c-d.ko.xz"),
        "kernel/b.ko": ("kernel/c-d.ko.xz",),
        "kernel/c-d.ko.xz": (),
        "kernel/e.ko.zst": ("kernel/c-d.ko.xz",),
        "kernel/unwanted.ko": (),
    }
    folder = add_kernel(tmp_path, "6.1.0", needs, built_in=("kernel/built-in.ko",))
    (found,) = kernel._in_tree(tmp_path)
    order = found.load_order(("a", "built_in", "e", "b"))
    assert [str(p.relative_to(folder)) for p in order] == [
        "kernel/c-d.ko.xz",
        "kernel/b.ko",
        "kernel/fs/a.ko",
        "kernel/e.ko.zst",
    ]
    assert [p.name for p in found.load_order(("c_d",))] == ["c-d.ko.xz"]


def test_a_missing_module_is_named(tmp_path: Path) -> None:
    add_kernel(tmp_path, "6.1.0", {"kernel/a.ko": ()}, built_in=("kernel/b.ko",))
    (found,) = kernel._in_tree(tmp_path)
    with pytest.raises(ToolError, match=r"kernel 6\.1\.0 has no module dummy_hcd"):
        found.load_order(("a", "b", "dummy_hcd"))


def test_a_module_whose_file_is_gone_is_missing(tmp_path: Path) -> None:
    folder = add_kernel(tmp_path, "6.1.0", {"kernel/a.ko": ("kernel/b.ko",), "kernel/b.ko": ()})
    (folder / "kernel" / "b.ko").unlink()
    (found,) = kernel._in_tree(tmp_path)
    with pytest.raises(ToolError, match=r"6\.1\.0 has lost its module kernel/b\.ko"):
        found.load_order(("a",))


# ext4's checksums: a crc32c of its own choice until Linux 6.14, then a library; the module that
# offers one to others has had two names, and there are some for one kind of processor.
CRC32C = {
    "crc32c_generic": ("crc32c_generic", "pre: crypto-crc32c", ["crc32c-generic.ko", "ext4.ko"]),
    "crc32c_cryptoapi": ("crc32c_cryptoapi", "pre: crc32c", ["crc32c-cryptoapi.ko", "ext4.ko"]),
    "and one behind": ("crc32c_generic", "pre: crc32c post: b", ["crc32c-generic.ko", "ext4.ko"]),
    "only behind": ("crc32c_generic", "post: crc32c", ["ext4.ko"]),
    "built in": (None, "pre: crypto-crc32c", ["ext4.ko"]),
    "a library": ("crc32c_cryptoapi", None, ["ext4.ko"]),
}


@pytest.mark.parametrize("case", CRC32C)
def test_what_a_module_asks_for_is_found_by_what_it_can_do(tmp_path: Path, case: str) -> None:
    module, asked, expected = CRC32C[case]
    # The one for Intel's processors would be the first.
    names = ["a/crc32c-intel.ko", "b.ko", "ext4.ko"]
    names += [f"crypto/{module.replace('_', '-')}.ko"] if module else []
    folder = add_kernel(tmp_path, "6.1.0", {f"kernel/{name}": () for name in names})
    offers = [
        f"alias {n} {m}\n" for m in ("crc32c_intel", module) for n in ("crypto-crc32c", "crc32c")
    ]
    offers += ["alias cpu:type:x86,ven*fam*mod*:feature:*0094* crc32c_intel\n"]
    offers += ["alias pci:v00001AF4d*sv*sd*bc*sc*i* b\n", "# Aliases\n"]
    (folder / "modules.alias").write_text("".join(offers))
    if asked is not None:
        (folder / "modules.softdep").write_text(f"# Soft\nsoftdep cifs nls\nsoftdep ext4 {asked}\n")
    (found,) = kernel._in_tree(tmp_path)
    assert [p.name for p in found.load_order(("ext4",))] == expected


def test_modules_that_ask_for_each_other(tmp_path: Path) -> None:
    folder = add_kernel(tmp_path, "6.1.0", {"kernel/a.ko": (), "kernel/b.ko": ()})
    (folder / "modules.softdep").write_text("softdep a pre: b\nsoftdep b pre: a\n")
    (found,) = kernel._in_tree(tmp_path)
    assert [p.name for p in found.load_order(("a",))] == ["b.ko", "a.ko"]


@pytest.mark.parametrize("name", ["modules.dep", "modules.builtin", "modules.alias"])
def test_module_lists_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    folder = add_kernel(tmp_path, "6.1.0", {"kernel/a.ko": ()})
    (found,) = kernel._in_tree(tmp_path)
    (folder / name).write_bytes(b"\xff\xfe")
    with pytest.raises(ToolError, match=name):
        found.load_order(("a",))


def packed(path: Path, data: bytes) -> Path:
    if path.suffix == ".xz":
        data = lzma.compress(data)
    elif path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        zstd = find_tool("zstd", "zstd")
        data = subprocess.run([zstd, "-c"], input=data, capture_output=True, check=True).stdout
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["a.ko", "a.ko.xz", "a.ko.gz", "a.ko.zst"])
def test_modules_are_unpacked(tmp_path: Path, name: str) -> None:
    assert unpacked_module(packed(tmp_path / name, ELF)) == ELF
    with pytest.raises(ToolError, match=f"{name} is no kernel module"):
        unpacked_module(packed(tmp_path / name, b"#!/bin/sh\n"))


@pytest.mark.parametrize("name", ["a.ko.xz", "a.ko.gz", "a.ko.zst"])
@pytest.mark.parametrize("keep", [0, 0.7])
def test_a_damaged_module_is_a_tool_error(tmp_path: Path, name: str, keep: float) -> None:
    path = packed(tmp_path / name, ELF + bytes(range(256)) * 20)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)] if keep else b"garbage" * 10)
    with pytest.raises(ToolError):
        unpacked_module(path)


def test_a_module_that_is_gone_is_a_tool_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="gone"):
        unpacked_module(tmp_path / "gone.ko")


# --- fetching one ---------------------------------------------------------------------------


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The distribution's packages, made up, and nothing installed: where they were unpacked."""
    unpacked: list[Path] = []

    def unpack(draft: Path) -> None:
        unpacked.append(draft)
        needs: dict[str, Sequence[str]] = {**ALL, "kernel/deep.ko": (), "kernel/other.ko": ()}
        needs[list(ALL)[-1]] = ("kernel/deep.ko",)
        folder = add_kernel(draft / "tree", "6.1.0", needs, usr=True)
        (folder / "modules.softdep").write_text(f"softdep {MODULES[0]} pre: soft\n")
        (folder / "modules.alias").write_text("alias soft other\n")

    monkeypatch.setattr(kernel, "_unpack_packages", unpack)
    as_if_installed(monkeypatch, tmp_path / "empty")
    return unpacked


def test_what_was_fetched_keeps_only_what_is_needed(packages: list[Path], cache: Path) -> None:
    kept = fetch()
    assert kept.image.read_bytes() == b"kernel 6.1.0"
    order = kept.load_order(MODULES)
    assert order[0].name == "other.ko", "wanted by the first, under the name of what it does"
    assert order[-2].name == "deep.ko"
    assert all(str(p).endswith(p.read_text()) for p in order)
    assert set(cache.rglob("*.ko*")) == set(order)
    assert not packages[0].exists()
    assert fetch().image == kept.image
    assert len(packages) == 1


@pytest.mark.parametrize("damaged", ["kernel/dummy-hcd.ko.xz", "modules.dep", "modules.alias"])
def test_a_fetched_kernel_that_is_damaged_is_fetched_again(
    packages: list[Path], damaged: str
) -> None:
    before = fetch()
    (before.modules / damaged).unlink()
    with pytest.raises(ToolError, match="ci/bootstrap"):
        find_kernel()
    after = fetch()
    assert len(packages) == 2
    assert (after.modules / damaged).is_file()
    assert find_kernel().modules == after.modules
