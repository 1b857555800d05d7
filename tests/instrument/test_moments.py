"""The moments of a boot: when each has come, in hand-made streams."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.observation import BiosLine, BusReset, Observation, ScsiCommand, ScsiReply
from harness.outcome.moments import Moment, hands_over


def command(name: str) -> ScsiCommand:
    return ScsiCommand(1.0, 1, 0, name, b"", 0, True)


def reply(name: str, status: str = "passed", data: bytes = b"") -> ScsiReply:
    return ScsiReply(1.0, 1, name, status, 0, len(data), data)


def sense(key: int, code: int) -> ScsiReply:
    """Fixed format: key in byte 2, additional sense code in byte 12 (SPC-4, 4.5.3)."""
    return reply("REQUEST SENSE", data=bytes([0x70, 0, key, *[0] * 9, code, *[0] * 5]))


START: list[Observation] = [
    BiosLine(0.01, "SeaBIOS (version 1.16.2)"),
    BusReset(0.02),
    BiosLine(0.05, "Found 1 serial ports"),
]
KEYBOARD = BiosLine(0.1, "PS2 keyboard initialized")
ASKED = [command("INQUIRY"), reply("INQUIRY", data=bytes(36)), command("TEST UNIT READY")]
EMPTY = [reply("TEST UNIT READY", "failed"), command("REQUEST SENSE"), sense(2, 0x3A)]
MEDIUM = [reply("TEST UNIT READY"), command("READ CAPACITY(10)")]
CAPACITY = reply("READ CAPACITY(10)", data=bytes(8))


def come(stream: Sequence[Observation]) -> set[Moment]:
    return {moment for moment in Moment if moment.has_come(stream)}


def test_they_come_one_after_another() -> None:
    seen = [*START]
    assert come([]) == come(seen) == set()
    for more, moment in (
        ([KEYBOARD], Moment.KEYBOARD_READY),
        (ASKED, Moment.DRIVE_ASKED),
        (EMPTY, Moment.DRIVE_EMPTY),
        ([BiosLine(0.4, "Booting from Hard Disk...")], Moment.HANDOVER),
    ):
        before = come(seen)
        seen += more
        assert come(seen) - before == {moment}
    assert come(seen) == set(Moment)
    assert come([*seen, BiosLine(9.0, "more"), *START]) == set(Moment), "what has come stays"


def test_a_drive_with_a_medium_is_known_by_its_capacity() -> None:
    seen = [*START, *ASKED, *MEDIUM]
    assert come(seen) == {Moment.DRIVE_ASKED}
    assert come([*seen, CAPACITY]) == {Moment.DRIVE_ASKED, Moment.DRIVE_EMPTY}


@pytest.mark.parametrize(
    "answer",
    [
        sense(6, 0x29),  # reset has occurred: the host asks again
        sense(2, 0x04),  # becoming ready
        reply("REQUEST SENSE"),
        reply("READ CAPACITY(10)", "failed"),
        command("READ CAPACITY(10)"),
    ],
)
def test_what_says_nothing_of_the_medium(answer: Observation) -> None:
    assert come([*ASKED, answer]) == {Moment.DRIVE_ASKED}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Booting from Hard Disk...", True),
        ("Booting from 0000:7c00", True),
        ("blind: Booting from hard disk 80h", True),
        ("strict: Booting from hard disk 80h", True),
        ("strict: no 55AA on hard disk 80h, halting", True),
        ("strict: hard disk 80h cannot be read, INT 18h", True),
        ("Running option rom at cb00:0003", False),
        ("bootgate: booted from next-device", False),
        ("USB MSC vendor='Booting from '", False),
        ("", False),
    ],
)
def test_lines_that_hand_over(line: str, expected: bool) -> None:
    assert hands_over(line) == expected
    assert Moment.HANDOVER.has_come([BiosLine(1.0, line)]) == expected


def test_each_has_an_id_of_its_own() -> None:
    values = [moment.value for moment in Moment]
    assert len(set(values)) == len(values)
    assert not [a for a in values for b in values if a != b and a in b]
