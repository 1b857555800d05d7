"""The gadget's keyboard: who polls it, and the keys that bring a PC back."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import cast

import pytest
from test_capture import (
    CONNECT,
    EP_INFO,
    GADGET,
    HOST,
    INTERFACES,
    PLUG,
    Said,
    get_descriptor,
    watched,
)

from harness.cable import hid
from harness.cable.conversation import transcript
from harness.cable.usbredir import (
    ControlPacket,
    DeviceDisconnect,
    Endpoint,
    EpInfo,
    Interface,
    InterfaceInfo,
    Reset,
    SetConfiguration,
    StartInterruptReceiving,
    Status,
    StopInterruptReceiving,
)
from harness.console import Answer, Console
from harness.deadline import Deadline
from harness.gadget import vm
from harness.gadget.vm import CTRL_ALT_DEL, NO_KEYS, GadgetVm
from harness.observation import (
    BusReset,
    HostEvent,
    InterruptPolling,
    Observation,
    Plugged,
    Unplugged,
)
from harness.outcome.wire import keyboard_driven

# --- what an interface is -------------------------------------------------------------------

# As in HID 1.11, B.1, E.10 and of a pointer: usage page, usage, collection.
KEYBOARD = bytes.fromhex("05010906a101050719e029e7")
MOUSE = bytes.fromhex("05010902a1010901a100")


@pytest.mark.parametrize(
    ("descriptor", "usage"),
    [
        (KEYBOARD, 0x1_0006),
        (MOUSE, 0x1_0002),
        # Sizes of two and four bytes; four bytes of usage hold a page of their own.
        (bytes.fromhex("0600ff0a3412a101"), 0xFF00_1234),
        (bytes.fromhex("05010b07000c00a101"), 0xC_0007),
        # A long item, with whatever is in it, is nothing (HID 1.11, 6.2.2.3).
        (bytes.fromhex("fe03100906a1") + KEYBOARD, 0x1_0006),
        (KEYBOARD[:4], 0),
        (KEYBOARD[:3], 0),
        (b"\xfe", 0),
        (b"", 0),
        (bytes(64), 0),
    ],
)
def test_a_report_descriptor_says_what_an_interface_is(descriptor: bytes, usage: int) -> None:
    assert hid.usage(descriptor) == usage


# --- who is polled --------------------------------------------------------------------------


def poll(endpoint: int = 0x81) -> Said:
    return (HOST, StartInterruptReceiving(endpoint=endpoint))


def polled(*said: Said) -> list[Observation]:
    """The observations of polling, each with its time set to zero."""
    seen = watched(list(said))
    return [_timeless(o) for o in seen if isinstance(o, InterruptPolling)]


def _timeless(o: InterruptPolling) -> InterruptPolling:
    return InterruptPolling(
        0.0,
        o.endpoint,
        o.interface,
        o.interface_class,
        o.interface_subclass,
        o.interface_protocol,
        o.usage,
    )


BOOT_KEYBOARD = InterruptPolling(0.0, 0x81, 0, 3, 1, 1, 0)


def test_a_host_that_begins_to_poll_is_seen() -> None:
    assert polled(*PLUG, poll()) == [BOOT_KEYBOARD]
    text = transcript(watched([*PLUG, poll()])).splitlines()[-1]
    assert text == " +3.000000  endpoint 81 is polled: interface 0, class 03 01 01"


def test_it_is_seen_once_until_the_device_is_new() -> None:
    stop: Said = (HOST, StopInterruptReceiving(endpoint=0x81))
    assert len(polled(*PLUG, poll(), stop, poll(), poll())) == 1, "a driver may pause"
    for anew in (Reset(), SetConfiguration(id=1, configuration=1)):
        assert len(polled(*PLUG, poll(), (HOST, anew), poll())) == 2
    assert len(polled(*PLUG, poll(), (GADGET, DeviceDisconnect()), *PLUG, poll())) == 2


def test_each_endpoint_is_that_of_its_interface() -> None:
    ends = {0x11: Endpoint(3, 4, 0, 8, 0), 0x12: Endpoint(3, 4, 7, 8, 0)}
    info = EpInfo(endpoints=tuple(ends.get(i, Endpoint(255, 0, 0, 0, 0)) for i in range(32)))
    interfaces = InterfaceInfo(interfaces=(Interface(7, 3, 0, 2), Interface(0, 3, 0, 1)))
    seen = polled((GADGET, info), (GADGET, interfaces), (GADGET, CONNECT), poll(0x82), poll(0x81))
    assert seen == [
        InterruptPolling(0.0, 0x82, 7, 3, 0, 2, 0),
        InterruptPolling(0.0, 0x81, 0, 3, 0, 1, 0),
    ]


def test_an_endpoint_of_nobody_is_polled_all_the_same() -> None:
    assert polled(poll()) == [InterruptPolling(0.0, 0x81, 255, 0, 0, 0, 0)]
    other = InterfaceInfo(interfaces=INTERFACES.interfaces[1:])
    said: list[Said] = [(GADGET, EP_INFO), (GADGET, other), (GADGET, CONNECT)]
    assert polled(*said, poll()) == [InterruptPolling(0.0, 0x81, 255, 0, 0, 0, 0)]


def report_descriptor(data: bytes, status: int = 0, interface: int = 0) -> list[Said]:
    def packet(length: int, data: bytes, status: int = 0) -> ControlPacket:
        return ControlPacket(
            id=9,
            endpoint=0x80,
            requesttype=0x81,
            request=6,
            value=0x2200,
            index=interface,
            length=length,
            data=data,
            status=status,
        )

    return [(HOST, packet(63, b"")), (GADGET, packet(len(data), data, status))]


def test_the_report_descriptor_is_remembered_as_the_host_read_it() -> None:
    (seen,) = polled(*PLUG, *report_descriptor(KEYBOARD), poll())
    assert isinstance(seen, InterruptPolling)
    assert seen.usage == 0x1_0006
    for other in (
        report_descriptor(b"", Status.STALL),
        report_descriptor(KEYBOARD, interface=1),
        get_descriptor(9, 3, 12, KEYBOARD),
        [*report_descriptor(KEYBOARD), (GADGET, DeviceDisconnect()), *PLUG],
    ):
        assert polled(*PLUG, *other, poll()) == [BOOT_KEYBOARD]


# --- does the host drive the keyboard -------------------------------------------------------

MOUSE_POLLED = InterruptPolling(0.2, 0x82, 1, 3, 1, 2, 0)
PLAIN_KEYBOARD_POLLED = InterruptPolling(0.2, 0x81, 0, 3, 0, 0, 0x1_0006)


@pytest.mark.parametrize(
    ("polling", "driven"),
    [
        (BOOT_KEYBOARD, True),
        (PLAIN_KEYBOARD_POLLED, True),
        (MOUSE_POLLED, False),
        (InterruptPolling(0.2, 0x82, 1, 3, 0, 0, 0x1_0002), False),
        (InterruptPolling(0.2, 0x82, 1, 2, 0, 1, 0), False),  # a network card's notifications
    ],
)
def test_a_keyboard_by_protocol_or_by_report(polling: Observation, driven: bool) -> None:
    assert keyboard_driven([Plugged(0.1, "high", 1, 2), polling]) == driven


@pytest.mark.parametrize(
    "anew",
    [
        Plugged(0.3, "high", 1, 2),
        Unplugged(0.3),
        BusReset(0.3),
        HostEvent(0.3, "RESET", True),
        HostEvent(0.3, "RESET", False),
    ],
    ids=lambda anew: type(anew).__name__,
)
def test_polling_before_a_reset_counts_no_more(anew: Observation) -> None:
    assert not keyboard_driven([])
    assert not keyboard_driven([BOOT_KEYBOARD, anew])
    assert not keyboard_driven([BOOT_KEYBOARD, anew, MOUSE_POLLED])
    assert keyboard_driven([BOOT_KEYBOARD, anew, BOOT_KEYBOARD, MOUSE_POLLED])


def test_other_events_of_the_host_change_nothing() -> None:
    assert keyboard_driven([BOOT_KEYBOARD, HostEvent(0.3, "SHUTDOWN", True)])


# --- the press ------------------------------------------------------------------------------


def test_the_reports_of_a_boot_keyboard() -> None:
    """HID 1.11, 8.3: bit 0 left Ctrl, bit 2 left Alt. Usage Tables 1.12, 10: 4Ch."""
    assert bytes.fromhex("05004c0000000000") == CTRL_ALT_DEL
    assert bytes(8) == NO_KEYS


class _Shell:
    """Runs a command line as the gadget's VM would, on a keyboard of the test's."""

    def __init__(self, keyboard: Path) -> None:
        self._keyboard = keyboard

    def run(self, command: str, deadline: Deadline) -> Answer:
        command = command.replace(f"-c {vm.KEYBOARD}", f"-p {self._keyboard}")
        command = command.replace(f">{vm.KEYBOARD}", f">{self._keyboard}")
        done = subprocess.run(["sh", "-c", command], timeout=20, check=False)
        return Answer(done.returncode, "")


@pytest.fixture
def keyboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vm, "TAKEN_SECONDS", 0.3)
    return tmp_path / "keyboard"


def press(keyboard: Path) -> bool:
    gadget = GadgetVm.__new__(GadgetVm)
    gadget._console = cast(Console, _Shell(keyboard))
    return gadget.press(CTRL_ALT_DEL)


def test_a_press_and_two_releases_are_written(keyboard: Path, tmp_path: Path) -> None:
    subprocess.run(["mkfifo", str(keyboard)], check=True)
    taken = tmp_path / "taken"
    with taken.open("wb") as file:
        # A host that takes what there is: one reader for as long as the writers need.
        command = ["dd", f"if={keyboard}", "bs=8", "count=3", "status=none"]
        host = subprocess.Popen(command, stdout=file)
        with keyboard.open("wb"):
            assert press(keyboard)
        host.wait(10)
    assert taken.read_bytes() == CTRL_ALT_DEL + NO_KEYS * 2


def test_a_host_that_does_not_take_it_is_not_waited_for(keyboard: Path) -> None:
    subprocess.run(["mkfifo", str(keyboard)], check=True)
    assert not press(keyboard)


def test_a_gadget_without_a_keyboard(keyboard: Path) -> None:
    assert not press(keyboard)
    assert not keyboard.exists(), "no file of its name was made"
