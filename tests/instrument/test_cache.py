"""The cache: keys by content, entries made once and whole, and what is swept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import DiskFull, RigFault
from images import cache
from images.cache import DRAFT_SECONDS, RECORD, SMALL, digest, made

CHECKOUT = Path(cache.__file__).parents[1]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("BOOTGATE_CACHE", str(path))
    return path


def fill(draft: Path) -> None:
    (draft / "file").write_text("whole")


def maker(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Another process that has the names of this test's cache."""
    head = "import sys, time\nfrom pathlib import Path\nfrom images.cache import made\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + script, *arguments], cwd=CHECKOUT, stdout=subprocess.PIPE
    )


# --- keys -----------------------------------------------------------------------------------


def test_any_byte_changes_the_key(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(bytes(100_000))
    before = digest(["kind", b"\x00\x01", file])
    assert before == digest(["kind", b"\x00\x01", file])
    others = {digest(["kinD", b"\x00\x01", file]), digest(["kind", b"\x00\x02", file])}
    file.write_bytes(bytes(99_999) + b"\x01")
    others.add(digest(["kind", b"\x00\x01", file]))
    assert len(others | {before}) == 4


def test_parts_are_kept_apart_and_in_order() -> None:
    assert len({digest(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"])}) == 4


def test_of_a_file_the_content_counts_not_the_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    assert digest([tmp_path / "a"]) == digest([tmp_path / "b"])


def test_a_file_that_is_not_there_is_a_rig_fault(tmp_path: Path) -> None:
    with pytest.raises(RigFault, match="gone"):
        digest([tmp_path / "gone"])


# --- making ---------------------------------------------------------------------------------


def test_an_entry_is_made_once(root: Path) -> None:
    calls: list[Path] = []

    def make(draft: Path) -> None:
        calls.append(draft)
        assert list(draft.iterdir()) == []
        fill(draft)

    entry = made("kind", "key", make)
    assert entry.parent == root / "kind"
    assert (entry / "file").read_text() == "whole"
    assert made("kind", "key", make) == entry
    assert len(calls) == 1
    assert made("kind", "other", make) != entry
    assert made("another", "key", make) != entry
    assert len(calls) == 3
    assert not any("draft-" in p.name for p in root.rglob("*"))


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), DiskFull("full")])
def test_a_maker_that_fails_leaves_nothing(root: Path, error: BaseException) -> None:
    def make(draft: Path) -> None:
        fill(draft)
        raise error

    with pytest.raises(type(error)) as raised:
        made("kind", "key", make)
    assert raised.value is error
    assert list((root / "kind").iterdir()) == []
    assert (made("kind", "key", fill) / "file").read_text() == "whole"


@pytest.mark.parametrize("before", ["nothing", "a damaged entry"])
def test_of_two_processes_one_makes_and_the_other_waits(tmp_path: Path, before: str) -> None:
    if before == "a damaged entry":
        (made("kind", "key", fill) / "file").unlink()
    script = f"""
def make(draft):
    with open({str(tmp_path / "made")!r}, "a") as log: log.write("made\\n")
    (draft / "half").write_text("")
    while not Path({str(tmp_path / "go")!r}).exists(): time.sleep(0.01)
    (draft / "file").write_text("whole")
Path({str(tmp_path)!r}, "started-" + sys.argv[1]).touch()
print((made("kind", "key", make) / "file").read_text())
"""
    processes = [maker(script, name) for name in "ab"]
    try:
        deadline = time.monotonic() + 20
        while not all((tmp_path / n).exists() for n in ("started-a", "started-b", "made")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)  # the second is at the lock now, or would be making
        (tmp_path / "go").touch()
        assert [p.communicate(timeout=20)[0] for p in processes] == [b"whole\n"] * 2
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert (tmp_path / "made").read_text() == "made\n"


def test_different_entries_do_not_wait_for_each_other() -> None:
    inside = threading.Barrier(2, timeout=10)
    failures: list[BaseException] = []

    def make(draft: Path) -> None:
        inside.wait()

    def want(key: str) -> None:
        try:
            made("kind", key, make)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=want, args=(key,), daemon=True) for key in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []


# --- healing --------------------------------------------------------------------------------

LARGE = bytes(range(1, 256)) * (2 * SMALL // 255)


def fill_both(draft: Path) -> None:
    fill(draft)
    (draft / "sub").mkdir()
    (draft / "sub" / "large").write_bytes(LARGE)


def empty_and_enlarge(path: Path) -> None:
    """What QEMU does to a memory file that somebody emptied."""
    os.truncate(path, 0)
    os.truncate(path, len(LARGE))


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a small file is gone": lambda entry: (entry / "file").unlink(),
    "a small file is shorter": lambda entry: os.truncate(entry / "file", 3),
    "a small file is another": lambda entry: (entry / "file").write_text("hole!"),
    "a file became a folder": lambda entry: become_a_folder(entry / "file"),
    "a large file is gone": lambda entry: (entry / "sub" / "large").unlink(),
    "a large file is shorter": lambda entry: os.truncate(entry / "sub" / "large", SMALL + 1),
    "a large file is all zeros": lambda entry: empty_and_enlarge(entry / "sub" / "large"),
    "a folder is gone": lambda entry: shutil.rmtree(entry / "sub"),
    "the record is gone": lambda entry: (entry / RECORD).unlink(),
    "the record is shorter": lambda entry: os.truncate(entry / RECORD, 9),
    "the record is no record": lambda entry: (entry / RECORD).write_text("[1]"),
    "all is gone": lambda entry: shutil.rmtree(entry),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again(root: Path, damage: str) -> None:
    entry = made("kind", "key", fill_both)
    assert made("kind", "key", fill_both) == entry
    DAMAGES[damage](entry)
    again = made("kind", "key", fill_both)
    assert (again / "file").read_text() == "whole"
    assert (again / "sub" / "large").read_bytes() == LARGE
    assert again != entry, "who knows the old name would mix old files and new ones"
    assert list((root / "kind").iterdir()) == [again]
    assert made("kind", "key", fill_both) == again


def test_who_has_a_damaged_entry_open_keeps_it() -> None:
    entry = made("kind", "key", fill_both)
    with open(entry / "sub" / "large", "rb") as file:
        (entry / "file").unlink()
        assert made("kind", "key", fill_both) != entry
        assert file.read() == LARGE


def test_an_entry_that_cannot_be_read_is_kept() -> None:
    entry = made("kind", "key", fill)
    (entry / "file").unlink()
    (entry / "file").symlink_to("file")  # ELOOP; as nothing is forbidden to root
    with pytest.raises(RigFault, match=r"cannot read the cache \(kind\)"):
        made("kind", "key", fill)
    assert entry.is_dir()


def test_a_cache_folder_that_is_none_is_a_rig_fault(root: Path) -> None:
    root.mkdir()
    (root / "kind").write_text("")
    with pytest.raises(RigFault, match=r"cannot write the cache \(kind\)"):
        made("kind", "key", fill)


def test_looking_at_a_large_entry_costs_next_to_nothing() -> None:
    def make(draft: Path) -> None:
        for name in ("memory", "image"):
            (draft / name).touch()
            os.truncate(draft / name, 1 << 30)

    made("kind", "key", make)
    began = time.process_time()
    made("kind", "key", make)
    assert time.process_time() - began < 0.05


# --- sweeping -------------------------------------------------------------------------------


def aged(path: Path, seconds: float) -> Path:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))
    return path


def test_what_was_unused_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "KEEP", 3)
    entries = {key: aged(made("kind", key, fill), 1000 - n) for n, key in enumerate("abc")}
    elsewhere = aged(made("another", "a", fill), 5000)
    made("kind", "a", fill)  # used again: now the youngest
    entry = made("kind", "d", fill)
    assert entry.is_dir()
    assert entries["a"].is_dir()
    assert not entries["b"].exists()
    assert entries["c"].is_dir()
    assert elsewhere.is_dir()


def test_an_entry_that_is_being_made_is_never_pruned(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "KEEP", 1)

    def make(draft: Path) -> None:
        fill(draft)
        made("kind", "b", fill)
        made("kind", "c", fill)
        assert (draft / "file").read_text() == "whole"

    entry = made("kind", "a", make)
    assert list((root / "kind").iterdir()) == [entry]
    assert (entry / "file").exists()


def test_a_killed_makers_draft_is_swept_once_it_is_old(root: Path) -> None:
    with maker(
        'def make(draft):\n print(draft, flush=True)\n time.sleep(60)\nmade("kind", "key", make)'
    ) as process:
        assert process.stdout is not None
        draft = Path(process.stdout.readline().decode().strip())
        assert draft.is_dir()
        process.send_signal(signal.SIGKILL)
    assert draft.is_dir()
    entry = made("kind", "key", fill)  # the lock died with its holder
    assert (entry / "file").read_text() == "whole"
    aged(draft, DRAFT_SECONDS - 60)
    made("kind", "key", fill)
    assert draft.is_dir(), "it could be another run's"
    aged(draft, DRAFT_SECONDS + 60)
    made("kind", "key", fill)
    assert not draft.exists()
    assert entry.is_dir()
