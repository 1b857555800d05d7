"""What a drive costs a host: the arithmetic. The rest is seen on the rig (EMPTY-7)."""

from __future__ import annotations

import pytest

from harness.observation import (
    BiosLine,
    ControlReply,
    ControlRequest,
    Observation,
    ScsiCommand,
    ScsiReply,
)
from harness.outcome.cost import Spent, account, cost, spent, told

LUNS = (0xA1, 0xFE, 0, 0, 1, "GET_MAX_LUN")
CONFIGURE = (0x00, 9, 1, 0, 0, "SET_CONFIGURATION(1)")


def asked(
    at: float, packet: int, request: tuple[int, int, int, int, int, str], of: int
) -> Observation:
    return ControlRequest(at, packet, *request, interface_class=of)


def answered(at: float, packet: int, status: str = "success") -> Observation:
    return ControlReply(at, packet, status, 0)


def ready(at: float, seconds: float) -> list[Observation]:
    return [
        ScsiCommand(at, 1, 0, "TEST UNIT READY", bytes(6), 0, False),
        ScsiReply(at + seconds, 1, "TEST UNIT READY", "failed", 0, 0, b""),
    ]


def booted(at: float) -> Observation:
    return BiosLine(at, "bootgate: booted from next-device")


def boot(of: int, *, wait: float = 5.0, drive: float = 0.01) -> list[Observation]:
    """A host that asks an interface of this class, waits, and then asks the drive."""
    then = 0.22 + wait
    return [
        *(asked(0.1, 1, CONFIGURE, -1), answered(0.11, 1)),
        *(asked(0.2, 2, LUNS, of), answered(0.21, 2, "stall")),
        *ready(then, drive),
        booted(then + drive + 0.1),
    ]


def test_a_wait_for_an_answer_that_the_host_has_is_its_own() -> None:
    seen = spent(boot(3))
    assert [str(w) for w in seen.waits] == ["GET_MAX_LUN to interface 0, class 03h: 5.0 s"]
    assert seen.waits[0].seconds == pytest.approx(5.01)
    assert seen.whole == pytest.approx(5.33)
    # Two control transfers of 0.01 s each; the two of the command took no longer together.
    assert seen.crossing == pytest.approx(0.03)
    assert seen.counted == pytest.approx(0.29)


def test_a_wait_that_the_drive_causes_counts() -> None:
    """The right interface was asked, and what it said makes the host wait."""
    seen = spent(boot(8))
    assert seen.waits == ()
    assert seen.counted == pytest.approx(5.33 - 0.03)


def test_a_slow_answer_counts_and_is_named() -> None:
    seen = spent(boot(3, drive=1.5))
    assert [str(s) for s in seen.slow] == ["TEST UNIT READY: 1.5 s"]
    assert seen.counted == pytest.approx(0.29 + 1.48)


def test_a_host_that_never_got_its_answer_waits_for_the_gadget() -> None:
    seen = [s for s in boot(3) if not (isinstance(s, ControlReply) and s.packet == 2)]
    assert spent(seen).waits == ()


def test_a_short_pause_is_no_wait() -> None:
    assert spent(boot(3, wait=0.4)).waits == ()


def test_a_host_that_waits_until_it_boots() -> None:
    seen = [*boot(3)[:4], booted(6.0)]
    assert [w.seconds for w in spent(seen).waits] == [pytest.approx(5.79)]


def test_time_without_a_core_is_not_the_hosts() -> None:
    assert spent([booted(0.9)], starved=0.3).whole == pytest.approx(0.6)
    # A wait ends by the clock: of the 0.32 s that are no wait a part was lost, and not more.
    assert spent(boot(3), starved=0.3).whole == pytest.approx(5.33 - 0.3 * 0.32 / 5.33)


def test_nothing_on_the_cable() -> None:
    assert spent([booted(0.3)]).counted == pytest.approx(0.3)
    assert spent([]).counted == 0.0


def test_the_cost_is_that_of_medians() -> None:
    def boots(*seconds: float) -> list[Spent]:
        return [Spent(whole, (), 0.0, ()) for whole in seconds]

    with_drive, without = boots(0.5, 0.7, 9.0), boots(0.3, 0.1, 0.2)
    assert cost(with_drive, without) == pytest.approx(0.5)
    first, with_it, without_it = account(with_drive, without).splitlines()
    assert first == told(with_drive, without)
    assert first == "the drive costs the host 0.50 s of its boot (limit 1.0 s)"
    assert with_it.startswith("with the drive it boots in 0.50, 0.70, 9.00 s; ")
    assert without_it.startswith("without the drive it boots in 0.30, 0.10, 0.20 s; ")


def test_waits_and_slow_answers_are_named() -> None:
    with_drive, without = [spent(boot(3, drive=1.5))], [spent([booted(0.3)])]
    wait = "GET_MAX_LUN to interface 0, class 03h: 5.0 s"
    assert told(with_drive, without).endswith(f"; the host itself waits after {wait}")
    assert "slow answers with it: TEST UNIT READY: 1.5 s" in account(with_drive, without)
