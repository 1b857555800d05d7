"""The gadget's side: its descriptors, what its VM reports, and what a snapshot depends on."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from harness.console import Answer
from harness.deadline import Deadline
from harness.errors import ConsoleError, DeadlineExpired, FirmwareFault, QemuError, RigFault
from harness.gadget import snapshot
from harness.gadget.descriptors import Collision, collisions
from harness.gadget.snapshot import Migration, frozen, machine
from harness.gadget.vm import SCRIPT_SECONDS, Configfs, GadgetVm, Lun, ScriptRun
from harness.qemu import Qemu
from images.initramfs import GadgetImage
from images.kernel import Kernel


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("BOOTGATE_CACHE", str(path))
    return path


# --- descriptors ----------------------------------------------------------------------------

DEVICE = bytes((18, 1, 0, 2, 0, 0, 0, 64, 0x46, 0x33, 9, 0x10, 0x10, 5, 1, 2, 3, 1))
CONFIGURATION = bytes((9, 2, 0, 0, 2, 1, 0, 0xC0, 50))
HID = bytes((9, 0x21, 1, 1, 0, 1, 0x22, 63, 0))
COMPANION = bytes((6, 0x30, 0, 0, 0, 0))


def interface(number: int, alternate: int = 0) -> bytes:
    return bytes((9, 4, number, alternate, 1, 8, 6, 80, 0))


def endpoint(address: int) -> bytes:
    return bytes((7, 5, address, 2, 0, 2, 0))


def test_a_composite_gadget_without_a_collision() -> None:
    keyboard = interface(0) + HID + endpoint(0x81) + endpoint(0x01)
    storage = interface(1) + endpoint(0x82) + COMPANION + endpoint(0x02)
    assert collisions(DEVICE + CONFIGURATION + keyboard + storage) == ()
    assert collisions(b"") == ()


def test_two_interfaces_on_one_address_collide() -> None:
    found = collisions(
        DEVICE
        + CONFIGURATION
        + (interface(3) + HID + endpoint(0x83) + endpoint(0x01))
        + (interface(5) + endpoint(0x84) + COMPANION + endpoint(0x01))
    )
    assert found == (Collision(0x01, (3, 5)),)
    assert str(found[0]) == "interfaces 3 and 5 share endpoint 01 OUT"
    assert str(Collision(0x8F, (0, 1, 2))) == "interfaces 0 and 1 and 2 share endpoint 0F IN"


def test_the_two_directions_of_one_number_are_two_addresses() -> None:
    assert collisions(interface(0) + endpoint(0x81) + interface(1) + endpoint(0x01)) == ()


def test_alternate_settings_of_one_interface_do_not_collide() -> None:
    both = interface(1) + endpoint(0x82) + interface(1, alternate=1) + endpoint(0x82)
    assert collisions(DEVICE + CONFIGURATION + both) == ()
    assert collisions(both + interface(2) + endpoint(0x82)) == (Collision(0x82, (1, 2)),)


@pytest.mark.parametrize("at", [1, len(DEVICE) - 1, len(DEVICE) + 3])
def test_descriptors_that_are_cut_off(at: int) -> None:
    with pytest.raises(ValueError, match="descriptor at"):
        collisions((DEVICE + CONFIGURATION)[:at])


@pytest.mark.parametrize("length", [0, 1])
def test_a_length_that_leads_nowhere(length: int) -> None:
    with pytest.raises(ValueError, match=rf"descriptor at 18 says it is {length} bytes long"):
        collisions(DEVICE + bytes((length, 4, 0, 0)))


# --- what the VM reports --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (ScriptRun(None, "half"), f"its init script had not ended after {SCRIPT_SECONDS} s"),
        (ScriptRun(0, " \n"), "its init script ended with status 0 and printed nothing"),
        (
            ScriptRun(2, "first\nlast \x1b[31m\n\n"),
            "its init script ended with status 2, its last words: last \\x1b[31m",
        ),
    ],
)
def test_how_an_init_script_ended(run: ScriptRun, words: str) -> None:
    assert str(run) == words


def test_last_words_are_cut() -> None:
    assert len(str(ScriptRun(1, "x" * 10_000))) < 200


def vm(monkeypatch: pytest.MonkeyPatch, answers: Callable[[str], str]) -> GadgetVm:
    """A VM that was never started, whose shell answers `answers`."""
    gadget = GadgetVm.__new__(GadgetVm)
    monkeypatch.setattr(gadget, "_check", lambda command, what: answers(command), raising=False)
    return gadget


def test_configfs_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "udc dummy_udc.0\n"
        "function hid.GS0\n"
        "function mass_storage.disk0\n"
        "lun 1 0 mass_storage.disk0/lun.0 -> /dev/mmcblk0p3 -> block:254:3:vda3\n"
        "lun 0 1 mass_storage.usb disk/lun.1\n"
    )
    assert vm(monkeypatch, lambda command: said).configfs() == Configfs(
        "dummy_udc.0",
        ("hid.GS0", "mass_storage.disk0"),
        (
            Lun("mass_storage.disk0/lun.0", ("/dev/mmcblk0p3", "block:254:3:vda3"), read_only=True),
            Lun("mass_storage.usb disk/lun.1", (), cdrom=True),
        ),
    )


@pytest.mark.parametrize("said", ["", "udc \n", "udc\n"])
def test_a_gadget_that_is_not_bound(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    assert vm(monkeypatch, lambda command: said).configfs() == Configfs("", (), ())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"guest": True, "reason": "guest-shutdown"}, "switched itself off"),
        ({"guest": True, "reason": "guest-reset"}, "restarted"),
    ],
)
def test_a_device_that_goes_away_by_itself(data: dict[str, object], words: str) -> None:
    gadget = GadgetVm.__new__(GadgetVm)
    gadget._migration, gadget._died = Migration(), None
    gadget._on_event("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})
    gadget._check_alive()
    gadget._on_event("SHUTDOWN", data)
    with pytest.raises(FirmwareFault, match=words):
        gadget._check_alive()


def test_what_an_earlier_binding_plugged_in_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair()
    gadget = GadgetVm.__new__(GadgetVm)
    gadget._plugs, gadget._died, gadget._plugged = threading.Condition(), None, None
    gadget.on_left = lambda: said.append("left")
    said: list[str] = []

    def mark(command: str, what: str) -> str:
        """The second binding was dealt with, the leaving of the first not yet."""
        theirs.sendall(b"bound 9\n")
        threading.Timer(0.1, theirs.sendall, [b"left\nplugged 9 " + DEVICE.hex().encode()]).start()
        threading.Timer(0.2, theirs.sendall, [b"\n"]).start()
        return ""

    monkeypatch.setattr(gadget, "_check", mark)
    theirs.sendall(b"plugged 5 \nplugged 5 %s\n" % DEVICE.hex().encode())
    reader = threading.Thread(target=gadget._read_plug, args=(ours,))
    reader.start()
    gadget.wait_enumerated()
    assert said == ["left"]
    assert gadget._plugged is not None
    assert (gadget._plugged.bound, gadget._plugged.descriptors) == ("9", DEVICE)
    theirs.close()
    reader.join(5)


class _Shell:
    """Plays the console and QEMU of a VM that is gone."""

    running = False

    def run(self, command: str, deadline: object) -> None:
        raise ConsoleError("dead")

    def wait_ended(self, seconds: float) -> bool:
        return True

    def starved(self) -> float:
        return 0.0

    def failure(self) -> QemuError:
        return QemuError("gadget's QEMU ended")


@pytest.mark.parametrize(("died", "error"), [(None, QemuError), ("restarted", FirmwareFault)])
def test_a_dead_shell_is_the_firmwares_doing_only_if_the_device_said_so(
    monkeypatch: pytest.MonkeyPatch, died: str | None, error: type[Exception]
) -> None:
    gadget = GadgetVm.__new__(GadgetVm)
    shell = _Shell()
    for name, value in (("_console", shell), ("_qemu", shell), ("_died", died)):
        monkeypatch.setattr(gadget, name, value, raising=False)
    with pytest.raises(error):
        gadget.run_init_script("start")


class _Busy:
    """Plays the console and QEMU of a VM that waits for a core while a script runs."""

    def __init__(self, starved: float) -> None:
        self._starved = [starved, 0.0]

    def run(self, command: str, deadline: object) -> Answer:
        return Answer(0, "timeout" if "firmware" in command else "")

    def starved(self) -> float:
        return self._starved.pop()


def test_a_script_that_had_no_processor_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(starved: float) -> ScriptRun:
        gadget, busy = GadgetVm.__new__(GadgetVm), _Busy(starved)
        for name in ("_console", "_qemu"):
            monkeypatch.setattr(gadget, name, busy, raising=False)
        return gadget.run_init_script("start")

    assert run(SCRIPT_SECONDS * 0.5).status is None
    with pytest.raises(RigFault, match=r"not ended after 20 s, but for 14 s .* run fewer cases"):
        run(SCRIPT_SECONDS * 0.7)


# --- the snapshot ---------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> GadgetImage:
    kernel = Kernel("6.1.0", tmp_path / "vmlinuz", tmp_path / "modules")
    return GadgetImage("image-key", kernel, tmp_path / "initramfs")


def test_the_snapshots_key_covers_all_that_was_frozen(
    tmp_path: Path, image: GadgetImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []

    def made(kind: str, key: str, make: object) -> Path:
        assert kind == "snapshot"
        keys.append(key)
        return tmp_path / key

    qemu = tmp_path / "qemu"
    qemu.write_bytes(b"one build of QEMU")
    monkeypatch.setattr(snapshot, "made", made)
    monkeypatch.setattr(snapshot, "version", lambda: "7.2.22")
    monkeypatch.setattr(snapshot, "find_tool", lambda name, package: str(qemu))

    def entry() -> Path:
        return tmp_path / keys[-1]

    def take(udc: str = "dummy_hcd", image: GadgetImage = image) -> str:
        found = frozen(image, udc, tmp_path, print)
        assert found.udc == udc
        assert (found.memory, found.state) == (entry() / "memory", entry() / "state")
        return keys[-1]

    first = take()
    assert take() == first
    others = [take("usbip-vudc"), take(image=GadgetImage("other", image.kernel, image.initramfs))]
    for name, value in (
        ("_APPEND", snapshot._APPEND + " quiet"),
        ("version", lambda: "7.2.23"),
        ("PARTITION_TABLE", "label: dos\n"),
        ("MEMORY", snapshot.MEMORY * 2),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(snapshot, name, value)
            others.append(take())
    qemu.write_bytes(b"another build of it")
    others.append(take())
    assert len({first, *others}) == 8


def test_frozen_and_restored_machine_differ_in_file_names_only(
    tmp_path: Path, image: GadgetImage
) -> None:
    def arguments(folder: str) -> tuple[str, ...]:
        return machine(
            image, "dummy_hcd", Path(folder, "memory"), Path(folder, "emmc"), Path(folder, "log")
        )

    one, other = arguments("/one"), arguments("/an,other")
    assert one != other
    assert tuple(a.replace("/an,,other", "/one") for a in other) == one, "commas are doubled"
    assert "udc=dummy_hcd" in one[one.index("-append") + 1].split()


class _MigratingQemu:
    """Answers a migration's commands, and tells of its end before the command returns."""

    running = True

    def __init__(self, migration: Migration, end: str | None) -> None:
        self.said: list[str] = []
        self._migration, self._end = migration, end

    def execute(self, command: str, arguments: object = None) -> None:
        self.said.append(json.dumps([command, arguments]))
        if command.startswith("migrate") and command != "migrate-set-capabilities":
            self._migration.on_event("STOP", {})
            for status in ("setup", "active", self._end):
                if status is not None:
                    self._migration.on_event("MIGRATION", {"status": status})

    def lend(self, name: str, fd: int) -> None:
        self.said.append(name)

    def failure(self) -> QemuError:
        return QemuError("gone")


def test_a_migration_ends_with_qemus_word() -> None:
    def run(end: str | None, running: bool = True) -> list[str]:
        migration = Migration()
        qemu = _MigratingQemu(migration, end)
        qemu.running = running
        migration.run(cast(Qemu, qemu), "migrate", 7, Deadline.after(0.05, "its end"))
        return qemu.said

    capabilities, lent, migrate = run("completed")
    assert "x-ignore-shared" in capabilities
    assert lent == "state"
    assert json.loads(migrate) == ["migrate", {"uri": "fd:state"}]
    with pytest.raises(QemuError, match="migrate of the gadget VM failed"):
        run("failed")
    with pytest.raises(DeadlineExpired, match="its end"):
        run(None)
    with pytest.raises(QemuError, match="gone"):
        run(None, running=False)
