"""Boot media that people use: what is fetched for them, and what is said without them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import images.real
from harness.errors import ToolError
from images.medium import Media
from images.real import REAL, Real, fetch, file_at, real_medium

ONE = Real("one.iso", ("package-one", "two"), file_at("file"), "One")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and one medium to be fetched: packages that come from nowhere."""

    def unpack(names: Sequence[str], draft: Path, tree: Path) -> None:
        assert names == ONE.packages
        tree.mkdir()
        (tree / "file").write_bytes(b"a medium")

    monkeypatch.setenv("BOOTGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(images.real, "REAL", {ONE.name: ONE})
    monkeypatch.setattr(images.real, "unpack", unpack)
    return tmp_path


def test_without_them_it_says_what_brings_them(cache: Path) -> None:
    with pytest.raises(ToolError, match=r"one\.iso was not fetched: run ci/bootstrap"):
        Media(cache).real("one.iso")


def test_they_are_fetched_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch()
    assert capsys.readouterr().err == "bootgate: fetching a boot medium: package-one two\n"
    fetch()
    assert capsys.readouterr().err == ""
    assert Media(cache).real("one.iso").read_bytes() == b"a medium"
    names = {path.name for path in real_medium("one.iso").parent.iterdir()}
    assert names == {"one.iso", "record.json"}, "the packages are not kept"


def test_a_fetch_that_fails_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(names: Sequence[str], draft: Path, tree: Path) -> None:
        raise ToolError("no network")

    monkeypatch.setattr(images.real, "unpack", fails)
    with pytest.raises(ToolError, match="no network"):
        fetch()
    with pytest.raises(ToolError, match="was not fetched"):
        real_medium("one.iso")


@pytest.mark.parametrize("name", REAL)
def test_each_is_a_cdrom_and_a_disk(name: str) -> None:
    """Signature of a master boot record; ISO 9660's volume descriptor, El Torito's record."""
    with open(real_medium(name), "rb") as file:
        head = file.read(0x9000)
    assert head[510:512] == b"\x55\xaa"
    assert head[0x8001:0x8006] == b"CD001"
    assert b"EL TORITO SPECIFICATION" in head[0x8800:0x9000]
