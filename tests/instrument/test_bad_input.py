"""What cannot be used: one clear line, the exit status of the contract, nothing left behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import Finished, Validate

from harness.owner import cache_root


def assert_one_line(run: Finished, status: int, *words: str) -> None:
    assert run.status == status, run.stderr
    lines = run.stderr.strip().splitlines()
    assert "Traceback" not in run.stderr
    assert all(word in lines[-1] for word in words), run.stderr
    if lines[-1].startswith("bootgate: "):
        assert len(lines) == 1, run.stderr
    assert not (run.report / "results.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--firmware", "/no/such/tree"], ["/no/such/tree"]),
        (["--firmware", "stonk"], ["stonk", "stock"]),
        (["--firmware", "."], ["S03usbdev"]),
        (["--controller", "firewire"], ["firewire"]),
        (["--bios", "/no/such/bios"], ["/no/such/bios"]),
        (["--bios", "."], ["--bios"]),
        (["--bios", "ovmf"], ["--bios ovmf", "seabios, blind, strict"]),
        (["--bios", ""], ["--bios ''"]),
        (["--list", "--bios", ""], ["--bios ''"]),
        (["--list", "--bios", "ovmf"], ["--bios ovmf"]),
        (["--bios", "seabios", "-k", "EMPTY-4"], ["nothing selected"]),
        (["-k", "nothing_is_called_so"], ["nothing selected"]),
        (["-k", "a and and"], ["-k"]),
        (["--workers", "0"], ["--workers"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
)
def test_wrong_usage(
    validate: Validate, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    cache = tmp_path / "cache"  # of its own: others may be running with the usual one
    assert_one_line(validate(*arguments, env={"BOOTGATE_CACHE": str(cache)}), 2, *words)
    assert not list(cache.glob("runs/*"))


def test_a_report_folder_that_cannot_be_written(validate: Validate, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("a file of the user's")
    run = validate()
    assert_one_line(run, 2, "report folder")
    assert (tmp_path / "report").read_text() == "a file of the user's"


def programs(folder: Path, *, without: str = "", broken: str = "") -> dict[str, str]:
    """An environment in whose PATH one program is missing, or prints nonsense and fails."""
    folder.mkdir()
    for place in (*os.environ["PATH"].split(os.pathsep), "/usr/sbin", "/sbin"):
        if not Path(place).is_dir():
            continue
        for program in Path(place).iterdir():
            if program.name != without and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    if broken:
        (folder / broken).unlink()
        (folder / broken).write_text("#!/bin/sh\necho it is broken >&2\nexit 1\n")
        (folder / broken).chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.rig
@pytest.mark.parametrize("program", ["qemu-system-x86_64", "nasm"])
def test_a_program_that_is_missing(validate: Validate, tmp_path: Path, program: str) -> None:
    env = programs(tmp_path / "bin", without=program)
    run = validate(env={**env, "BOOTGATE_CACHE": str(warm_kernel(tmp_path))})
    assert_one_line(run, 3, program, "ci/bootstrap")


@pytest.mark.rig
@pytest.mark.parametrize("program", ["qemu-system-x86_64", "usbredirect", "nasm"])
def test_a_program_that_is_broken(validate: Validate, tmp_path: Path, program: str) -> None:
    env = programs(tmp_path / "bin", broken=program)
    run = validate(env={**env, "BOOTGATE_CACHE": str(warm_kernel(tmp_path))})
    assert_one_line(run, 3, program)


@pytest.mark.rig
def test_no_kernel(validate: Validate, tmp_path: Path) -> None:
    if any(Path("/lib/modules").glob("*/modules.dep")):
        pytest.skip("this machine has a kernel of its own installed")
    run = validate(env={"BOOTGATE_CACHE": str(tmp_path / "cache")})
    assert_one_line(run, 3, "no kernel", "ci/bootstrap")


def warm_kernel(tmp_path: Path) -> Path:
    """A cache that holds the fetched kernel, if there is one, and nothing else."""
    cache = tmp_path / "cache"
    cache.mkdir()
    if (cache_root() / "kernel").is_dir():
        shutil.copytree(cache_root() / "kernel", cache / "kernel")
    return cache


@pytest.mark.rig
@pytest.mark.parametrize("place", ["cache", "report"])
def test_a_full_disk(validate: Validate, tmp_path: Path, place: str) -> None:
    (tmp_path / "report").mkdir()
    target = tmp_path / "report"
    env = {}
    if place == "cache":
        cache = warm_kernel(tmp_path)
        target = cache / "gadget-image"
        target.mkdir()
        env = {"BOOTGATE_CACHE": str(cache)}
    script = 'mount -t tmpfs -o "$1" none "$2"; shift 2; exec "$@"'
    # In the report folder not even a name finds room.
    size = "size=64k" if place == "cache" else "size=4k,nr_inodes=2"
    prefix = ["unshare", "-rm", "sh", "-c", script, "sh", size, str(target)]
    run = validate(env=env, prefix=prefix)
    if "unshare" in run.stderr:
        pytest.skip("this machine does not let its users mount")
    assert_one_line(run, 3, "no room left")
