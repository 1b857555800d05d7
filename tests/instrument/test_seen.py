"""Which boots say something of the gadget, and which only of the rig."""

from __future__ import annotations

import pytest

from harness.errors import FirmwareFault, NotJudged, RigFault
from harness.observation import (
    BiosLine,
    BusReset,
    ControlReply,
    ControlRequest,
    GadgetState,
    Observation,
    ScsiCommand,
    ScsiReply,
)
from harness.outcome.kinds import Booted, NoBootDevice
from harness.rig.host import _check_seen

ASKS = ControlRequest(0.2, 1, 0x80, 6, 0x100, 0, 8, "GET_DESCRIPTOR(DEVICE)")
ANSWERED = ControlReply(0.3, 1, "success", 8)
GIVES_UP = BiosLine(0.5, "WARNING - Timeout at xhci_event_wait:785!")
INQUIRY = ScsiCommand(0.4, 1, 0, "INQUIRY", b"\x12" + bytes(5), 36, True)


def gadget(*, promised: bool) -> Observation:
    return GadgetState(-1.0, "udc", (), (), promised)


@pytest.mark.parametrize("promised", [True, False])
@pytest.mark.parametrize("must_ask_drive", [True, False])
def test_a_request_that_never_came_to_the_cable_is_the_rigs(
    promised: bool, must_ask_drive: bool
) -> None:
    """Also of a gadget without a drive: its keyboard was not seen either."""
    stream = [gadget(promised=promised), BusReset(0.1), ASKS, ANSWERED, GIVES_UP]
    for outcome in (Booted("next-device"), NoBootDevice()):
        with pytest.raises(RigFault, match="gave up on a request that never came to the cable"):
            _check_seen(stream, outcome, must_ask_drive, 0.0)


def test_a_gadget_that_nobody_looked_at() -> None:
    with pytest.raises(RigFault, match="never looked at it"):
        _check_seen([gadget(promised=False)], Booted("next-device"), False, 0.0)
    _check_seen([gadget(promised=False), BusReset(0.1)], Booted("next-device"), True, 0.0)


def test_a_drive_that_answers_too_late_counts_where_it_must_be_asked() -> None:
    late = ScsiReply(7.0, 1, "INQUIRY", "passed", 0, 36, bytes(36), ())
    stream = [gadget(promised=True), BusReset(0.1), INQUIRY, late]
    with pytest.raises(FirmwareFault, match=r"took 6\.6 s to answer INQUIRY, and the host gave up"):
        _check_seen(stream, Booted("next-device"), True, 0.4)
    with pytest.raises(RigFault, match=r"took 6\.6 s .* 70% of the time it had no core"):
        _check_seen(stream, Booted("next-device"), True, 0.7)
    _check_seen(stream, Booted("next-device"), False, 0.0)


def test_a_host_that_takes_another_interface() -> None:
    stream = [gadget(promised=True), BusReset(0.1), ASKS, ANSWERED]
    with pytest.raises(NotJudged, match="never asked its drive"):
        _check_seen(stream, Booted("next-device"), True, 0.0)
    _check_seen(stream, Booted("next-device"), False, 0.0)
