"""Firmware trees: every shape that is taken, every one that is refused, and what ships."""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import harness.firmware.commit
import harness.firmware.copying
from harness.errors import DiskFull, FirmwareError, ToolError, UsageError
from harness.firmware import (
    Firmware,
    Gate,
    Limits,
    Shape,
    about,
    boot_files,
    breaks,
    faults,
    open_firmware,
    rough,
    shipped,
)
from harness.firmware.folder import digest
from harness.outcome.catalogue import REQUIREMENTS

SCRIPT = "system/init.d/S03usbdev"
FILES = {SCRIPT: b"#!/bin/sh\n", "server/web index.html": b"<p>", "empty": b""}
ALL = shipped() + faults() + rough()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def fill(folder: Path, files: Mapping[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / SCRIPT).chmod(0o755)
    return folder


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o755 if name.endswith(SCRIPT) else 0o644
    return info


def pack(path: Path, members: list[tarfile.TarInfo], root: str = "nanokvm_1.0") -> Path:
    """An archive of the usual files below `root`, and `members` after them."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in FILES.items():
            info = member(f"{root}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in members:
            tar.addfile(info, io.BytesIO(b"x" * info.size))
    return path


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
    )
    return done.stdout.strip()


def repository(folder: Path) -> Path:
    fill(folder / "kvmapp")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def refusal(spec: str | Path, work: Path, limits: Limits = Limits()) -> str:  # noqa: B008
    """The one line that says why `spec` is refused; nothing may be left in `work`."""
    with pytest.raises(FirmwareError) as caught:
        open_firmware(str(spec), work, limits)
    message = str(caught.value)
    assert message.isprintable()
    assert repr(str(spec))[:100] in message
    assert not (work / "kvmapp").exists()
    return message


def content(firmware: Firmware) -> dict[str, bytes]:
    files = (path for path in firmware.kvmapp.rglob("*") if path.is_file())
    return {str(path.relative_to(firmware.kvmapp)): path.read_bytes() for path in files}


# --- what is taken --------------------------------------------------------------------------


def as_checkout(folder: Path) -> str:
    fill(folder / "src/kvmapp")
    return str(folder / "src")


def as_kvmapp(folder: Path) -> str:
    return str(fill(folder / "src"))


def as_release(folder: Path) -> str:
    return str(pack(folder / "nanokvm_1.0.tar.gz", []))


def as_packed_checkout(folder: Path) -> str:
    return str(pack(folder / "NanoKVM.tar.gz", [], root="NanoKVM-1.0/kvmapp"))


def as_commit(folder: Path) -> str:
    return f"{repository(folder / 'src')}@HEAD"


def as_commit_named_in_kvmapp(folder: Path) -> str:
    return f"{repository(folder / 'src')}/kvmapp@HEAD"


SHAPES = [
    as_checkout,
    as_kvmapp,
    as_release,
    as_packed_checkout,
    as_commit,
    as_commit_named_in_kvmapp,
]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_tree(
    shape: Callable[[Path], str], tmp_path: Path, work: Path
) -> None:
    firmware = open_firmware(shape(tmp_path), work)
    assert content(firmware) == FILES
    assert os.access(firmware.init_script, os.X_OK)
    assert not (firmware.kvmapp / "empty").stat().st_mode & 0o111
    plain = open_firmware(str(fill(tmp_path / "plain")), tmp_path / "other")
    assert firmware.digest == plain.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "empty").write_bytes(b"1"),
        lambda tree: (tree / "empty").chmod(0o755),
        lambda tree: (tree / "empty").rename(tree / "other"),
        lambda tree: (tree / "link").symlink_to("empty"),
    ],
)
def test_the_digest_sees_content_mode_name_and_link(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    tree = fill(tmp_path / "src")
    before = open_firmware(str(tree), tmp_path / "before")
    change(tree)
    assert open_firmware(str(tree), tmp_path / "after").digest != before.digest


def test_the_digest_sees_where_a_link_leads(tmp_path: Path) -> None:
    tree = fill(tmp_path / "src")
    (tree / "link").symlink_to("empty")
    before = open_firmware(str(tree), tmp_path / "before")
    (tree / "link").unlink()
    (tree / "link").symlink_to("/data")
    assert open_firmware(str(tree), tmp_path / "after").digest != before.digest


def test_a_clean_checkout_is_known_by_its_commit(tmp_path: Path, work: Path) -> None:
    source = repository(tmp_path / "src")
    firmware = open_firmware(str(source), work)
    assert (firmware.commit, firmware.dirty) == (git(source, "rev-parse", "HEAD"), False)


def test_a_repository_that_is_kvmapp_itself(tmp_path: Path, work: Path) -> None:
    source = fill(tmp_path / "src")
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "one")
    firmware = open_firmware(str(source), work)
    assert content(firmware) == FILES
    assert (firmware.commit, firmware.dirty) == (git(source, "rev-parse", "HEAD"), False)


def test_a_changed_checkout_is_dirty(tmp_path: Path, work: Path) -> None:
    source = repository(tmp_path / "src")
    (source / "kvmapp/empty").write_bytes(b"changed")
    assert open_firmware(str(source), work).dirty


def test_a_file_that_git_ignores_makes_a_checkout_dirty(tmp_path: Path, work: Path) -> None:
    source = repository(tmp_path / "src")
    (source / ".git/info/exclude").write_text("binary\n")
    (source / "kvmapp/binary").write_bytes(b"built")
    assert open_firmware(str(source), work).dirty


def test_a_folder_that_another_repository_ignores_has_no_commit(tmp_path: Path) -> None:
    outer = repository(tmp_path / "src")
    fill(outer / "build/nanokvm")
    firmware = open_firmware(str(outer / "build/nanokvm"), tmp_path / "work")
    assert (firmware.commit, firmware.dirty) == (None, False)


def test_a_commit_is_read_as_it_was(tmp_path: Path, work: Path) -> None:
    source = repository(tmp_path / "src")
    first = git(source, "rev-parse", "HEAD")
    (source / "kvmapp/empty").write_bytes(b"later")
    git(source, "commit", "-q", "-a", "-m", "two")
    firmware = open_firmware(f"{source}@HEAD~1", work)
    assert (firmware.commit, firmware.dirty) == (first, False)
    assert content(firmware) == FILES


def test_an_existing_path_with_an_at_sign_is_a_path(tmp_path: Path, work: Path) -> None:
    fill(tmp_path / "src@HEAD")
    repository(tmp_path / "src")
    (tmp_path / "src@HEAD/only here").write_bytes(b"")
    assert "only here" in content(open_firmware(str(tmp_path / "src@HEAD"), work))


def test_path_and_revision_may_both_hold_an_at_sign(tmp_path: Path, work: Path) -> None:
    source = repository(tmp_path / "a@b")
    assert open_firmware(f"{source}@HEAD@{{0}}", work).commit == git(source, "rev-parse", "HEAD")


def test_links_are_copied_and_not_followed(tmp_path: Path, work: Path) -> None:
    tree = fill(tmp_path / "src")
    (tree / "inside").symlink_to("system/init.d")
    (tree / "absolute").symlink_to("/etc/passwd")
    firmware = open_firmware(str(tree), work)
    assert os.readlink(firmware.kvmapp / "inside") == "system/init.d"
    assert os.readlink(firmware.kvmapp / "absolute") == "/etc/passwd"


def test_a_hard_link_in_an_archive_is_a_file(tmp_path: Path, work: Path) -> None:
    link = member("nanokvm_1.0/again", tarfile.LNKTYPE, f"nanokvm_1.0/{SCRIPT}")
    firmware = open_firmware(str(pack(tmp_path / "a.tar.gz", [link])), work)
    assert (firmware.kvmapp / "again").read_bytes() == FILES[SCRIPT]
    assert os.access(firmware.kvmapp / "again", os.X_OK)


# --- git runs nothing -----------------------------------------------------------------------


def test_reading_a_commit_runs_no_filter_hook_or_monitor(tmp_path: Path, work: Path) -> None:
    source = repository(tmp_path / "src")
    (source / ".gitattributes").write_text("* filter=evil export-subst diff=evil\n")
    (source / "kvmapp/id").write_bytes(b"$Format:%H$")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "two")
    trace = tmp_path / "trace"
    run = f"touch {trace}; cat"
    for key in ("smudge", "clean", "process"):
        git(source, "config", f"filter.evil.{key}", run)
    for key in ("core.fsmonitor", "diff.evil.textconv", "tar.tar.command", "core.pager"):
        git(source, "config", key, run)
    hook = source / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{run}\n")
    hook.chmod(0o755)
    # The trap works: git's own archive falls into it.
    git(source, "archive", "--format=tar", "-o", str(tmp_path / "own.tar"), "HEAD")
    assert trace.exists()
    trace.unlink()
    index = (source / ".git/index").read_bytes()

    firmware = open_firmware(f"{source}@HEAD", work)
    open_firmware(str(source), tmp_path / "other")

    assert not trace.exists()
    assert content(firmware)["id"] == b"$Format:%H$"
    assert (source / ".git/index").read_bytes() == index


def test_an_object_that_is_missing_is_not_fetched(tmp_path: Path, work: Path) -> None:
    source = repository(tmp_path / "src")
    trace = tmp_path / "trace"
    git(source, "config", "remote.origin.url", f"ext::touch {trace}")
    git(source, "config", "remote.origin.promisor", "true")
    git(source, "config", "protocol.ext.allow", "always")
    git(source, "config", "core.repositoryFormatVersion", "1")
    git(source, "config", "extensions.partialClone", "origin")
    blob = git(source, "rev-parse", "HEAD:kvmapp/server/web index.html")
    (source / ".git/objects" / blob[:2] / blob[2:]).unlink()
    assert "git cannot" in refusal(f"{source}@HEAD", work)
    assert not trace.exists()
    with pytest.raises(subprocess.CalledProcessError):
        git(source, "cat-file", "-p", blob)
    assert trace.exists(), "the trap works: git itself falls into it"


def test_variables_do_not_lead_git_elsewhere(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, other = repository(tmp_path / "src"), repository(tmp_path / "other")
    git(other, "commit", "-q", "--amend", "-m", "not this")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    firmware = open_firmware(f"{source}@HEAD", work)
    monkeypatch.delenv("GIT_DIR")
    assert firmware.commit == git(source, "rev-parse", "HEAD")
    assert firmware.commit != git(other, "rev-parse", "HEAD")


def test_a_submodule_is_an_empty_folder(tmp_path: Path, work: Path) -> None:
    source = repository(tmp_path / "src")
    head = git(source, "rev-parse", "HEAD")
    git(source, "update-index", "--add", "--cacheinfo", f"160000,{head},kvmapp/module")
    git(source, "commit", "-q", "-m", "two")
    assert list((open_firmware(f"{source}@HEAD", work).kvmapp / "module").iterdir()) == []


def test_a_replaced_object_does_not_count(tmp_path: Path, work: Path) -> None:
    source = repository(tmp_path / "src")
    (source / "other").write_bytes(b"replaced!\n")
    new = git(source, "hash-object", "-w", "other")
    git(source, "replace", git(source, "rev-parse", f"HEAD:kvmapp/{SCRIPT}"), new)
    assert content(open_firmware(f"{source}@HEAD", work)) == FILES


@pytest.mark.parametrize("ref", ["", "-h", "--output=x"])
def test_what_can_be_no_revision_is_not_shown_to_git(ref: str, tmp_path: Path, work: Path) -> None:
    message = refusal(f"{repository(tmp_path / 'src')}@{ref}", work)
    assert "cannot be a git revision" in message


@pytest.mark.parametrize("ref", ["no such", "HEAD:kvmapp", "\x1b[2J"])
def test_a_revision_that_git_does_not_know_is_refused(ref: str, tmp_path: Path, work: Path) -> None:
    message = refusal(f"{repository(tmp_path / 'src')}@{ref}", work)
    assert "git knows no commit" in message


def test_a_revision_of_a_folder_without_git_is_refused(tmp_path: Path, work: Path) -> None:
    assert "is no git repository" in refusal(f"{fill(tmp_path / 'src')}@HEAD", work)


def test_a_commit_without_init_script_is_refused(tmp_path: Path, work: Path) -> None:
    source = repository(tmp_path / "src")
    git(source, "rm", "-q", f"kvmapp/{SCRIPT}")
    git(source, "commit", "-q", "-m", "two")
    assert "no init script" in refusal(f"{source}@HEAD", work)


def test_a_repository_of_another_user_is_refused_in_one_line(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = repository(tmp_path / "src")
    environment = harness.firmware.commit._environment()
    monkeypatch.setattr(
        harness.firmware.commit,
        "_environment",
        lambda: environment | {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"},
    )
    message = refusal(f"{source}@HEAD", work)
    assert "belongs to another user" in message
    assert "safe.directory" in message
    assert open_firmware(str(source), work).commit is None


def test_without_git_a_folder_can_be_used_and_a_commit_cannot(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = repository(tmp_path / "src")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="git is not installed"):
        open_firmware(f"{source}@HEAD", work)
    assert open_firmware(str(source), work).commit is None


# --- names and paths that are refused -------------------------------------------------------


@pytest.mark.parametrize("spec", ["stokc", "", "a\0b", "x" * 5000, "/no/such", "a@b", "\x1b]0;"])
def test_what_is_neither_name_nor_path_is_refused(spec: str, work: Path) -> None:
    message = refusal(spec, work)
    assert "no such name and no such path" in message
    assert "fixed, stock" in message


def test_a_misspelt_name_gets_a_suggestion(work: Path) -> None:
    assert "did you mean 'stock'?" in refusal("stokc", work)
    assert "'faults/not_removable'" in refusal("faults/not_removeable", work)


@pytest.mark.parametrize("spec", ["common", "faults", "../firmware/stock", "stock/"])
def test_other_folders_of_the_fixtures_have_no_name(spec: str, work: Path) -> None:
    assert "no such name" in refusal(spec, work)


def test_a_tree_without_init_script_says_where_it_looked(tmp_path: Path, work: Path) -> None:
    message = refusal(tmp_path, work)
    assert f"neither kvmapp/{SCRIPT} nor {SCRIPT} is there" in message


def test_a_path_that_cannot_be_followed_is_refused(tmp_path: Path, work: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be read" in refusal(tmp_path / "loop", work)


def test_a_pipe_is_no_firmware(tmp_path: Path, work: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "neither a folder nor an archive" in refusal(tmp_path / "pipe", work)


def test_a_pipe_in_a_tree_is_refused(tmp_path: Path, work: Path) -> None:
    os.mkfifo(fill(tmp_path / "src") / "pipe\n")
    assert r"'pipe\n', a device, pipe or socket" in refusal(tmp_path / "src", work)


def test_an_unreadable_file_is_refused(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = fill(tmp_path / "src")
    real = os.open

    def denied(path: Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        # Root may read everything, so that permissions alone would show nothing there.
        if Path(path) == tree / "empty":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", denied)
    assert "empty' cannot be read: Permission denied" in refusal(tree, work)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("link", ".."),
        ("link", "../x"),
        ("system/link", "../../x"),
        ("system/link", "up/.."),
        ("link", "./a/../../x"),
    ],
)
def test_a_relative_link_out_of_the_tree_is_refused(
    name: str, target: str, tmp_path: Path, work: Path
) -> None:
    tree = fill(tmp_path / "src")
    (tree / "system/up").symlink_to("..")
    (tree / name).symlink_to(target)
    assert "leads out of the tree" in refusal(tree, work)


def test_links_in_a_circle_are_only_content(tmp_path: Path, work: Path) -> None:
    tree = fill(tmp_path / "src")
    (tree / "a").symlink_to("b/x")
    (tree / "b").symlink_to("a/x")
    assert os.readlink(open_firmware(str(tree), work).kvmapp / "a") == "b/x"


@pytest.mark.parametrize("part", ["system", "system/init.d", SCRIPT])
def test_an_init_script_behind_an_absolute_link_is_refused(
    part: str, tmp_path: Path, work: Path
) -> None:
    tree, elsewhere = fill(tmp_path / "src"), fill(tmp_path / "elsewhere")
    (tree / part).rename(tmp_path / "gone")
    (tree / part).symlink_to(elsewhere / part)
    assert "is a link that leads out of it" in refusal(tree, work)


def test_a_kvmapp_that_is_a_link_is_refused(tmp_path: Path, work: Path) -> None:
    fill(tmp_path / "elsewhere")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/kvmapp").symlink_to(tmp_path / "elsewhere")
    assert "is a link: give the folder it leads to" in refusal(tmp_path / "src", work)


def test_an_init_script_that_is_a_folder_is_refused(tmp_path: Path, work: Path) -> None:
    (tmp_path / "src" / SCRIPT).mkdir(parents=True)
    assert "is not a file" in refusal(tmp_path / "src", work)


def test_a_working_folder_within_the_firmware_is_refused(tmp_path: Path) -> None:
    tree = fill(tmp_path / "src")
    assert "lies within it" in refusal(tree, tree / "work")


def test_a_tree_with_too_many_files_is_refused(tmp_path: Path, work: Path) -> None:
    assert "more than 4 files" in refusal(fill(tmp_path / "src"), work, Limits(members=4))


def test_a_tree_with_too_many_bytes_is_refused(tmp_path: Path, work: Path) -> None:
    tree = fill(tmp_path / "src")
    (tree / "large").write_bytes(b"x" * 2000)
    assert "larger than" in refusal(tree, work, Limits(total=2000))
    assert "'large' is larger than" in refusal(tree, work, Limits(file=1999))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_the_rigs_fault(
    code: int, tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, chunk: bytes) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(harness.firmware.copying, "_write_all", full)
    with pytest.raises(DiskFull):
        open_firmware(str(fill(tmp_path / "src")), work)
    assert not (work / "kvmapp").exists()


def test_a_working_folder_that_cannot_be_written_is_the_rigs_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ToolError, match="cannot write"):
        open_firmware("fixed", tmp_path / "file")


def test_a_working_folder_is_used_once(work: Path) -> None:
    first = open_firmware("fixed", work)
    with pytest.raises(ToolError, match="is there already"):
        open_firmware("stock", work)
    assert first.init_script.exists()


# --- archives that are refused --------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "why"),
    [
        (member("/etc/x"), "absolute name '/etc/x'"),
        (member("nanokvm_1.0/../../x"), "leaves the tree by '..'"),
        (member("../x"), "leaves the tree by '..'"),
        (member("second/x"), "2 things at its top"),
        (member("nanokvm_1.0/a\nb", tarfile.FIFOTYPE), r"'nanokvm_1.0/a\nb', which is no file"),
        (member("nanokvm_1.0/null", tarfile.CHRTYPE), "which is no file, folder or link"),
        (member("nanokvm_1.0/disk", tarfile.BLKTYPE), "which is no file, folder or link"),
        (member("nanokvm_1.0/new", b"Z"), "which is no file, folder or link"),
        (member("nanokvm_1.0/a/" + "x" * 300), "too long"),
        (member("nanokvm_1.0" + "/xxxx" * 300), "too long"),
        (member("nanokvm_1.0/empty"), "'empty' twice"),
        (member("nanokvm_1.0/empty/below"), "'empty' twice"),
        (member("nanokvm_1.0/l", tarfile.SYMTYPE, "../x"), "leads out of the tree, to '../x'"),
        (member("nanokvm_1.0/l", tarfile.SYMTYPE, ""), "no target"),
        (member("nanokvm_1.0/l", tarfile.SYMTYPE, "x" * 2000), "too long"),
        (member("nanokvm_1.0/l", tarfile.LNKTYPE, "/etc/passwd"), "absolute name"),
        (member("nanokvm_1.0/l", tarfile.LNKTYPE, "nanokvm_1.0/no"), "which is no file before it"),
        (member("nanokvm_1.0/l", tarfile.LNKTYPE, "nanokvm_1.0/l"), "which is no file before it"),
        (member("nanokvm_1.0/l", tarfile.LNKTYPE, "other/x"), "leads out of it"),
    ],
)
def test_a_hostile_member_is_refused(
    info: tarfile.TarInfo, why: str, tmp_path: Path, work: Path
) -> None:
    assert why in refusal(pack(tmp_path / "a.tar.gz", [info]), work)
    assert sorted(os.listdir(tmp_path)) in (["a.tar.gz"], ["a.tar.gz", "work"])


def test_nothing_is_written_through_a_link(tmp_path: Path, work: Path) -> None:
    (tmp_path / "target").mkdir()
    link = member("nanokvm_1.0/l", tarfile.SYMTYPE, str(tmp_path / "target"))
    archive = pack(tmp_path / "a.tar.gz", [link, member("nanokvm_1.0/l/x")])
    assert "'l' twice" in refusal(archive, work)
    assert os.listdir(tmp_path / "target") == []


def test_an_archive_without_init_script_says_where_it_looked(tmp_path: Path, work: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", [], root="nanokvm_1.0/elsewhere")
    assert f"neither kvmapp/{SCRIPT} nor {SCRIPT} is in" in refusal(archive, work)


@pytest.mark.parametrize("data", [b"", b"\x1f", b"PK\x03\x04", b"nanokvm_1.0/" + bytes(500)])
def test_what_is_not_gzip_is_refused(data: bytes, tmp_path: Path, work: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(data)
    assert "neither a folder nor a .tar.gz archive" in refusal(tmp_path / "a.tar.gz", work)


@pytest.mark.parametrize("data", [b"", b"not a tar archive" * 100, bytes(1024)])
def test_gzip_that_holds_no_archive_is_refused(data: bytes, tmp_path: Path, work: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(data))
    message = refusal(tmp_path / "a.tar.gz", work)
    assert "archive is broken" in message or "0 things at its top" in message


@pytest.mark.parametrize("cut", [1, 8, 9, 60, 0.5])
def test_a_truncated_archive_is_refused(cut: float, tmp_path: Path, work: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", [])
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * cut) if cut < 1 else -int(cut)])
    assert "archive is broken" in refusal(archive, work)


@pytest.mark.parametrize("blocks", [1, 3, 4, 5])
def test_an_archive_cut_before_it_was_packed_is_refused(
    blocks: int, tmp_path: Path, work: Path
) -> None:
    tar = gzip.decompress(pack(tmp_path / "a.tar.gz", []).read_bytes())
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar[: blocks * 512]))
    assert "archive is broken" in refusal(tmp_path / "a.tar.gz", work)


def test_a_broken_header_is_not_taken_for_the_end(tmp_path: Path, work: Path) -> None:
    tar = bytearray(
        gzip.decompress(pack(tmp_path / "a.tar.gz", [member("nanokvm_1.0/z")]).read_bytes())
    )
    at = tar.index(b"nanokvm_1.0/z")
    tar[at + 148] ^= 1  # the header's checksum
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(tar)))
    assert "archive is broken" in refusal(tmp_path / "a.tar.gz", work)


def bomb(path: Path, size: int, name: str = "nanokvm_1.0/bomb") -> Path:
    """A few hundred bytes for each megabyte of zeros."""
    info = member(name)
    info.size = size
    header = info.tobuf()
    with gzip.open(path, "wb", compresslevel=1) as file:
        script = member(f"nanokvm_1.0/{SCRIPT}")
        file.write(script.tobuf() + header)
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
        file.write(bytes(1024))
    return path


def test_a_bomb_is_refused_before_any_of_it_is_written(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(fd: int, chunk: bytes) -> None:
        raise AssertionError("something was written")

    monkeypatch.setattr(harness.firmware.copying, "_write_all", unwanted)
    for name in ("nanokvm_1.0/bomb", "nanokvm_1.0/kvmapp/other"):
        archive = bomb(tmp_path / "a.tar.gz", 8 << 20, name)
        assert "larger than 4 MiB unpacked" in refusal(archive, work, Limits(total=4 << 20))


def test_a_bomb_beside_the_firmware_is_not_unpacked_to_its_end(tmp_path: Path, work: Path) -> None:
    others = [member(f"NanoKVM/other{n}") for n in range(3)]
    for info in others:
        info.size = 2 << 20
    archive = pack(tmp_path / "a.tar.gz", others, root="NanoKVM/kvmapp")
    assert "larger than 4 MiB unpacked" in refusal(archive, work, Limits(total=4 << 20))


def test_a_file_that_only_claims_to_be_large_is_refused(tmp_path: Path, work: Path) -> None:
    info = member("nanokvm_1.0/claim")
    info.size = 1 << 60
    header = member(f"nanokvm_1.0/{SCRIPT}").tobuf() + info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(header + bytes(1024)))
    assert "firmware" in refusal(tmp_path / "a.tar.gz", work)


def test_hard_links_count_as_often_as_they_are_there(tmp_path: Path, work: Path) -> None:
    large = member("nanokvm_1.0/large")
    large.size = 100_000
    links = [member(f"nanokvm_1.0/l{n}", tarfile.LNKTYPE, large.name) for n in range(30)]
    archive = pack(tmp_path / "a.tar.gz", [large, *links])
    assert "larger than" in refusal(archive, work, Limits(total=2 << 20))


def test_an_archive_with_too_many_members_is_refused(tmp_path: Path, work: Path) -> None:
    folders = [member("nanokvm_1.0/d", tarfile.DIRTYPE)] * 30
    archive = pack(tmp_path / "a.tar.gz", folders)
    assert "more than 20 files" in refusal(archive, work, Limits(members=20))


def test_a_header_that_fills_the_memory_is_refused(tmp_path: Path, work: Path) -> None:
    info = member("nanokvm_1.0/x")
    info.pax_headers = {"comment": "x" * (3 << 20)}
    assert "header of more than 1 MiB" in refusal(pack(tmp_path / "a.tar.gz", [info]), work)


PARTS = st.sampled_from(["..", ".", "", "a", "b", "system", "nanokvm_1.0", "\n", "\x7f", "é" * 200])
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
TYPES = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
MEMBERS = st.builds(
    member,
    st.one_of(NAMES, NAMES.map("nanokvm_1.0/".__add__)),
    st.sampled_from(TYPES),
    st.one_of(NAMES, st.text(max_size=10)),
)


def below(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)), path.read_bytes() if path.is_file() else b""


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(st.lists(MEMBERS, max_size=4))
def test_whatever_an_archive_holds_nothing_gets_out(members: list[tarfile.TarInfo]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            archive = pack(folder / "a.tar.gz", members)
        except UnicodeEncodeError:  # no archive can hold this
            return
        before = list(below(folder))
        (folder / "work").mkdir()
        try:
            firmware = open_firmware(str(archive), folder / "work")
        except FirmwareError as error:
            assert str(error).isprintable()  # noqa: PT017
            assert os.listdir(folder / "work") == []
        else:
            for path in firmware.kvmapp.rglob("*"):
                if path.is_symlink() and not os.readlink(path).startswith("/"):
                    assert path.parent.resolve().is_relative_to(firmware.kvmapp.resolve())
        assert [seen for seen in below(folder) if not seen[0].startswith("work")] == before


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 10_239), st.binary(min_size=1, max_size=8)), max_size=4))
def test_a_damaged_archive_is_read_or_refused(damage: list[tuple[int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        archive = pack(Path(name) / "a.tar.gz", [member("nanokvm_1.0/l", tarfile.SYMTYPE, "a")])
        tar = bytearray(gzip.decompress(archive.read_bytes()))
        for at, data in damage:
            tar[at : at + len(data)] = data
            block = at // 512 * 512
            fixed = tarfile.calc_chksums(bytes(tar[block : block + 512]))[0]  # type: ignore[attr-defined]
            tar[block + 148 : block + 156] = b"%06o\0 " % fixed
        archive.write_bytes(gzip.compress(bytes(tar)))
        try:
            open_firmware(str(archive), Path(name) / "work")
        except FirmwareError as error:
            assert str(error).isprintable()  # noqa: PT017


# --- what ships -----------------------------------------------------------------------------

CONFIGFS = """
# Plays configfs: a new folder gets the attributes that the kernel would give it.
mkdir() {
    for folder in "$@"; do
        [ "$folder" = -p ] && continue
        command mkdir -p "$folder" "$gadget/os_desc"
        make "$gadget" UDC idVendor idProduct bDeviceClass bDeviceSubClass bDeviceProtocol
        make "$gadget/os_desc" use b_vendor_code qw_sign
        make "$config" bmAttributes MaxPower
        case "$folder" in
            */hid.*) make "$folder" subclass protocol report_length report_desc wakeup_on_write ;;
            */rndis.*)
                make "$folder" class subclass protocol dev_addr host_addr
                make "$folder/os_desc/interface.rndis" compatible_id sub_compatible_id ;;
            */ncm.*)
                make "$folder" dev_addr host_addr
                make "$folder/os_desc/interface.ncm" compatible_id ;;
            */mass_storage.*) make "$folder/lun.0" file removable ro cdrom inquiry_string ;;
            */strings/0x409) make "$folder" serialnumber manufacturer product configuration ;;
        esac
    done
}
make() {
    command mkdir -p "$1"
    ( cd "$1" && shift && for name in "$@"; do [ -e "$name" ] || : > "$name"; done )
}
sleep() { :; }
losetup() { [ "$1" != -f ] || echo /dev/loop7; }
"""


class Device:
    """A shipped tree whose device is a folder: /sys, /boot, /proc and /kvmapp are in it."""

    def __init__(self, name: str, root: Path) -> None:
        self.root = root
        self.gadget = root / "sys/kernel/config/usb_gadget/g0"
        firmware = open_firmware(name, root)
        self.script = firmware.init_script
        for path in [self.script, *firmware.kvmapp.glob("system/usb/*.sh")]:
            text = re.sub(
                r"(?<![\w/.}$])/(sys|boot|proc|kvmapp)/", rf"{root}/\1/", path.read_text()
            )
            path.write_text(text)
        usb = firmware.kvmapp / "system/usb"
        (usb / "00_configfs.sh").write_text(CONFIGFS)
        (root / "sys/class/udc/dummy_udc.0").mkdir(parents=True)
        (root / "proc/cviusb").mkdir(parents=True)
        (root / "boot").mkdir()

    def boot(self, files: Mapping[str, bytes]) -> None:
        for old in (self.root / "boot").iterdir():
            old.unlink()
        for name, data in files.items():
            (self.root / "boot" / name).write_bytes(data)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["busybox", "ash", str(self.script), command],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    def start(self, gate: Gate, shape: Shape = Shape.HID_AND_STORAGE, **extra: bytes) -> None:
        self.boot(boot_files(shape, gate, extra))
        done = self.run("start")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def read(self, name: str) -> str:
        return (self.gadget / name).read_text().strip()

    @property
    def functions(self) -> list[str]:
        config = self.gadget / "configs/c.1"
        return sorted(p.name for p in config.iterdir() if p.is_symlink()) if config.exists() else []

    @property
    def udc(self) -> str:
        return self.read("UDC") if (self.gadget / "UDC").exists() else ""

    @property
    def backing(self) -> dict[str, str]:
        """What backs the LUN of every function that is part of the configuration."""
        luns = {f: self.gadget / "functions" / f / "lun.0/file" for f in self.functions}
        return {f: p.read_text().strip() for f, p in luns.items() if p.exists()}


DISK0, DISK1 = "mass_storage.disk0", "mass_storage.disk1"
HID = ["hid.GS0", "hid.GS1", "hid.GS2"]
PARTITION = "/dev/mmcblk0p3"
PLACEHOLDER = "/tmp/placeholder.img"
SPACED = Gate.path("/data/boot disk.img")
GATES = [Gate.EMPTY, Gate.LINE_FEED, SPACED, Gate.ABSENT]

BACKING: dict[str, list[dict[str, str]]] = {
    # In the order of GATES.
    "fixed": [{DISK0: ""}, {DISK0: ""}, {DISK0: "/data/boot disk.img"}, {}],
    "stock": [{DISK0: PARTITION}, {DISK0: PARTITION}, {DISK0: "/data/boot disk.img"}, {}],
    "faults/read_only_ignored": [
        {DISK0: ""},
        {DISK0: ""},
        {DISK0: "/data/boot disk.img"},
        {},
    ],
    "faults/partition_on_line_feed": [
        {DISK0: ""},
        {DISK0: PARTITION},
        {DISK0: "/data/boot disk.img"},
        {},
    ],
    "faults/udc_never_bound": [{DISK0: ""}, {DISK0: ""}, {DISK0: "/data/boot disk.img"}, {}],
    "faults/function_missing": [{}, {}, {}, {}],
    "faults/not_removable": [{DISK0: ""}, {DISK0: ""}, {DISK0: "/data/boot disk.img"}, {}],
    "faults/loop_over_partition": [
        {DISK0: "/dev/loop7"},
        {DISK0: "/dev/loop7"},
        {DISK0: "/data/boot disk.img"},
        {},
    ],
    "faults/partition_after_restart": [
        {DISK0: ""},
        {DISK0: ""},
        {DISK0: "/data/boot disk.img"},
        {},
    ],
    "faults/path_cut_at_blank": [{DISK0: ""}, {DISK0: ""}, {DISK0: "/data/boot"}, {}],
    # The image of this test is not there: nothing of it is cut.
    "faults/image_cut": [{DISK0: ""}, {DISK0: ""}, {DISK0: "/data/boot disk.img"}, {}],
    "faults/path_ignored": [{DISK0: ""}, {DISK0: ""}, {DISK0: ""}, {}],
    "faults/does_nothing": [{}, {}, {}, {}],
    "faults/boot_subclass_ignored": [
        {DISK0: ""},
        {DISK0: ""},
        {DISK0: "/data/boot disk.img"},
        {},
    ],
    "faults/second_lun_on_partition": [
        {DISK0: "", DISK1: PARTITION},
        {DISK0: "", DISK1: PARTITION},
        {DISK0: "/data/boot disk.img", DISK1: PARTITION},
        {},
    ],
    "faults/partition_when_missing": [{DISK0: ""}, {DISK0: ""}, {DISK0: PARTITION}, {}],
    "faults/partition_when_absent": [
        {DISK0: ""},
        {DISK0: ""},
        {DISK0: "/data/boot disk.img"},
        {DISK0: PARTITION},
    ],
    "faults/placeholder_blank": [
        {DISK0: PLACEHOLDER},
        {DISK0: PLACEHOLDER},
        {DISK0: "/data/boot disk.img"},
        {},
    ],
    "faults/placeholder_signed": [
        {DISK0: PLACEHOLDER},
        {DISK0: PLACEHOLDER},
        {DISK0: "/data/boot disk.img"},
        {},
    ],
}


def test_every_shipped_script_is_one_that_ash_reads(tmp_path: Path) -> None:
    trees = [open_firmware(name, tmp_path / name).kvmapp for name in ALL]
    scripts = [path for tree in trees for path in tree.rglob("*") if path.is_file()]
    different = {path.read_bytes(): path for path in scripts}
    assert len(different) > len(ALL)
    for path in different.values():
        done = subprocess.run(["busybox", "ash", "-n", path], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b""), path


def test_every_shipped_tree_is_another(tmp_path: Path) -> None:
    digests = {open_firmware(name, tmp_path / name).digest for name in ALL}
    assert len(digests) == len(ALL)


def test_shipped_trees_say_what_they_do_and_what_they_break() -> None:
    assert all(about(name).endswith(".") for name in ALL)
    for name in ("stock", *faults()):
        assert set(breaks(name)) <= REQUIREMENTS.keys(), name
        assert breaks(name), name
    assert not any(breaks(name) for name in ("fixed", *rough()))


BEHIND = {
    *("faults/drive_throttled", "faults/partition_after_rebind", "faults/partition_after_resets"),
    "faults/partition_for_the_next_host",
}
"""They leave a program behind, and differ only in what that does later."""


IN_THE_SERVER = {
    f"faults/{name}"
    for name in (
        *("unmount_falls_back", "toggle_falls_back", "mounted_names_partition"),
        *("cdrom_ignored", "always_cdrom", "kind_by_name", "cdrom_left_behind"),
        *("old_medium_stays", "paths_unchecked", "emptied_first"),
        *("switched_off_stays", "toggle_leaves_a_watcher", "unmount_lies", "mounted_deleted"),
    )
}
"""Their boot script is that of fixed."""


def test_every_seeded_fault_is_in_the_table() -> None:
    assert {*BACKING, *BEHIND, *IN_THE_SERVER} == {*shipped(), *faults()}


@pytest.mark.parametrize("name", sorted(IN_THE_SERVER))
def test_a_fault_in_the_server_leaves_the_boot_script_alone(name: str, tmp_path: Path) -> None:
    fixed = open_firmware("fixed", tmp_path / "fixed").kvmapp
    tree = open_firmware(name, tmp_path / "tree").kvmapp
    assert digest(tree / "system") == digest(fixed / "system")
    assert digest(tree / "server") != digest(fixed / "server")


@pytest.mark.parametrize("name", BACKING)
def test_what_is_in_the_drive(name: str, work: Path) -> None:
    device = Device(name, work)
    seen = []
    for gate in GATES:
        device.start(gate)
        seen.append(device.backing)
        device.run("stop")
        # The server takes the function out of the configuration when it switches the disk off.
        for function in device.functions:
            if function.startswith("mass_storage"):
                (device.gadget / "configs/c.1" / function).unlink()
    assert seen == BACKING[name]


@pytest.mark.parametrize("name", BACKING)
def test_a_fault_is_the_only_thing_that_differs(name: str, work: Path) -> None:
    device = Device(name, work)
    device.start(Gate.EMPTY)
    lun = f"functions/{DISK0}/lun.0/removable"
    if name == "faults/does_nothing":
        assert not device.gadget.exists()
        return
    assert device.functions[:3] == HID
    assert device.udc == ("" if name == "faults/udc_never_bound" else "dummy_udc.0")
    assert device.read(lun) == ("0" if name == "faults/not_removable" else "1")


def test_the_factory_shape(work: Path) -> None:
    device = Device("fixed", work)
    device.start(Gate.EMPTY, Shape.FACTORY)
    assert device.functions == [*HID, DISK0, "rndis.usb0"]
    assert (device.read("idVendor"), device.read("idProduct")) == ("0x3346", "0x1009")
    assert (device.read("os_desc/use"), device.read("os_desc/qw_sign")) == ("1", "MSFT100")
    assert (device.gadget / "os_desc/c.1").resolve() == device.gadget / "configs/c.1"
    assert device.read("functions/rndis.usb0/os_desc/interface.rndis/compatible_id") == "RNDIS"
    assert device.read(f"functions/{DISK0}/lun.0/ro") == "0"
    assert [device.read(f"functions/{h}/wakeup_on_write") for h in HID] == ["1"] * 3
    assert [device.read(f"functions/{h}/subclass") for h in HID] == [""] * 3
    assert len(device.read(f"functions/{DISK0}/lun.0/inquiry_string")) == 28


def test_every_other_gate_file_is_honoured(work: Path) -> None:
    device = Device("fixed", work)
    gates = ("BIOS", "usb.notwakeup", "usb.ncm", "usb.disk0.ro")
    extra = {"usb.vid": b"0x1d6b\n", "usb.pid": b"0x0104\n"} | dict.fromkeys(gates, b"")
    device.start(Gate.path("/data/x.iso"), Shape.FACTORY, **extra)
    assert device.functions == [*HID, DISK0, "ncm.usb0"]
    assert (device.read("idVendor"), device.read("idProduct")) == ("0x1d6b", "0x0104")
    assert [device.read(f"functions/{h}/subclass") for h in HID] == ["1"] * 3
    assert [device.read(f"functions/{h}/wakeup_on_write") for h in HID] == [""] * 3
    assert device.read(f"functions/{DISK0}/lun.0/ro") == "1"
    assert device.read("functions/ncm.usb0/os_desc/interface.ncm/compatible_id") == "WINNCM"


def test_input_can_be_switched_off(work: Path) -> None:
    device = Device("fixed", work)
    device.start(Gate.EMPTY, disable_hid=b"")
    assert device.functions == [DISK0]


def test_start_stop_and_restart(work: Path) -> None:
    device = Device("fixed", work)
    device.start(Gate.EMPTY)
    for command, udc in [
        ("stop", ""),
        ("stop", ""),
        ("start", "dummy_udc.0"),
        ("start", "dummy_udc.0"),
        ("restart", "dummy_udc.0"),
        ("stop_start", "dummy_udc.0"),
        ("restart_phy", "dummy_udc.0"),
    ]:
        done = device.run(command)
        assert (done.returncode, done.stderr, device.udc) == (0, "", udc), command
    assert device.functions == [*HID, DISK0]
    assert device.run("nonsense").returncode == 1


def test_a_value_that_the_kernel_refuses_is_complained_about(work: Path) -> None:
    device = Device("fixed", work)
    device.boot(boot_files(Shape.HID_AND_STORAGE, Gate.EMPTY))
    device.gadget.mkdir(parents=True)
    (device.gadget / "idVendor").symlink_to("/dev/full")
    assert "idVendor does not take '0x3346'" in device.run("start").stderr
    assert device.udc == "dummy_udc.0"


def test_a_medium_that_is_no_longer_chosen_is_taken_out(work: Path) -> None:
    device = Device("fixed", work)
    device.start(SPACED)
    device.run("stop")
    device.start(Gate.EMPTY)
    assert device.backing == {DISK0: ""}


def input_bytes(descriptor: bytes) -> int:
    """Bytes of an input report: size times count of its Input items (HID 1.11, 6.2.2)."""
    at = size = count = bits = 0
    while at < len(descriptor):
        prefix = descriptor[at]
        length = (0, 1, 2, 4)[prefix & 3]
        value = int.from_bytes(descriptor[at + 1 : at + 1 + length], "little")
        size = value if prefix & 0xFC == 0x74 else size
        count = value if prefix & 0xFC == 0x94 else count
        bits += size * count if prefix & 0xFC == 0x80 else 0
        at += 1 + length
    assert at == len(descriptor)
    return bits // 8


@pytest.mark.parametrize(
    ("function", "protocol", "length"),
    [("hid.GS0", "1", 8), ("hid.GS1", "2", 4), ("hid.GS2", "2", 6)],
)
def test_reports_are_as_long_as_announced(
    function: str, protocol: str, length: int, work: Path
) -> None:
    device = Device("fixed", work)
    device.start(Gate.ABSENT)
    descriptor = (device.gadget / "functions" / function / "report_desc").read_bytes()
    assert (
        input_bytes(descriptor) == length == int(device.read(f"functions/{function}/report_length"))
    )
    assert descriptor.count(b"\xa1") == descriptor.count(b"\xc0")
    assert device.read(f"functions/{function}/protocol") == protocol


def test_the_rough_tree_that_prints_does_its_work_too(work: Path) -> None:
    device = Device("rough/prints_megabytes", work)
    device.boot(boot_files(Shape.HID_AND_STORAGE, Gate.EMPTY))
    assert len(device.run("start").stdout) == 12 << 20
    assert device.backing == {DISK0: ""}


@pytest.mark.parametrize(
    ("name", "bound"), [("rough/loops_for_ever", False), ("rough/binds_then_loops", True)]
)
def test_the_rough_trees_that_loop(name: str, bound: bool, work: Path) -> None:
    device = Device(name, work)
    device.boot(boot_files(Shape.HID_AND_STORAGE, Gate.EMPTY))
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            ["busybox", "ash", str(device.script), "start"], capture_output=True, timeout=0.5
        )
    assert (device.udc != "") == bound


# --- gate files -----------------------------------------------------------------------------


def test_boot_files() -> None:
    small, factory = Shape.HID_AND_STORAGE, Shape.FACTORY
    assert boot_files(small, Gate.ABSENT) == {}
    assert boot_files(small, Gate.EMPTY) == {"usb.disk0": b""}
    assert boot_files(small, Gate.LINE_FEED) == {"usb.disk0": b"\n"}
    assert boot_files(factory, SPACED, {"BIOS": b""}) == {
        "usb.disk0": b"/data/boot disk.img",
        "usb.rndis0": b"",
        "BIOS": b"",
    }
    assert (small.udc, factory.udc) == ("dummy_hcd", "usbip-vudc")


def test_gates() -> None:
    assert [gate.promises_drive for gate in GATES] == [True, True, True, False]
    assert [str(gate) for gate in GATES] == ["empty", "line feed", "/data/boot disk.img", "absent"]


@pytest.mark.parametrize("path", ["", "x.img", "/data/a\nb", "/data/\0"])
def test_a_path_that_no_gate_file_can_name(path: str) -> None:
    with pytest.raises(UsageError):
        Gate.path(path)


@pytest.mark.parametrize("name", ["usb.disk0", "usb.rndis0"])
def test_extra_boot_files_do_not_contradict(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        boot_files(Shape.HID_AND_STORAGE, Gate.EMPTY, {name: b""})
