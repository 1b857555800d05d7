"""Deeds, done: what is done to the host, its cable or its gadget, and when the host goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from harness.cable.relay import Relay
from harness.errors import NotJudged, RigFault, ServerFault
from harness.host.pc import Pc
from harness.host.stick import Stick
from harness.outcome.moments import Deed
from harness.rig.gadget import Gadget

REPLUG_SECONDS = 0.5
"""How long a cable that is pulled out stays out."""

SILENT_SECONDS = 2.0
"""How long a gadget that falls silent for a while says nothing. SeaBIOS waits for 5 s."""


def do(deed: Deed, pc: Pc, gadget: Gadget, wait_plugged: Callable[[Relay], None]) -> None:
    """Do it to a host that is stopped, and let that go on.

    `wait_plugged` waits until the gadget has crossed the cable. Raises ServerFault when the
    device's server failed at it, and the host has gone on all the same; FirmwareFault when the
    device died of it, NotJudged when the server has nothing to mount, RigFault when the rig failed.
    """
    relay = gadget.relay
    assert relay is not None

    def wait_back() -> None:
        if gadget.plugged:
            gadget.hurry(True)
            wait_plugged(relay)
        pc.let_go()

    def change_medium(gone: Callable[[], None]) -> None:
        try:
            gadget.change_medium(deed.mounts, gone)
        except ServerFault:
            wait_back()
            raise

    match deed:
        case Deed.RESET:
            pc.reset()
            pc.let_go()
        case Deed.REPLUG:
            relay.cut()
            pc.let_go()
            relay.mend(REPLUG_SECONDS)
        case Deed.PLUG:
            relay.mend()
            pc.let_go()
        case Deed.SILENCE:
            relay.mute()
            relay.mend(SILENT_SECONDS)
            pc.let_go()
        case Deed.MUTE:
            relay.mute()
            pc.let_go()
        case Deed.REBIND:
            gadget.rebind(pc.let_go)
        case Deed.RESTART:
            gadget.restart(pc.let_go)
        case Deed.QUICK_REBIND:
            gadget.rebind(lambda: None)
            wait_back()
        case Deed.QUICK_RESTART:
            gadget.restart(lambda: None)
            wait_back()
        case Deed.MOUNT | Deed.UNMOUNT:
            change_medium(pc.let_go)
        case Deed.QUICK_MOUNT | Deed.QUICK_UNMOUNT:
            change_medium(lambda: None)
            wait_back()


def do_with_stick(deed: Deed, pc: Pc, stick: Stick) -> None:
    """Do the same to a host with QEMU's own drive, as far as that can be done.

    Raises NotJudged where it cannot: it never falls silent; RigFault when the rig failed.
    """
    match deed:
        case Deed.RESET:
            pc.reset()
            pc.let_go()
        case Deed.PLUG:
            pc.plug(stick)
            pc.let_go()
        case Deed.QUICK_REBIND | Deed.QUICK_RESTART:
            pc.pull()
            pc.plug(stick)
            pc.let_go()
        case Deed.REPLUG | Deed.REBIND | Deed.RESTART:
            pc.pull()
            pc.let_go()
            if stick.away is not None:
                _later(stick.away, pc, stick)
        case Deed.MOUNT | Deed.UNMOUNT:
            pc.pull()
            pc.let_go()
            if stick.away is not None:
                _later(stick.away, pc, stick.changed)
        case Deed.QUICK_MOUNT | Deed.QUICK_UNMOUNT:
            pc.pull()
            pc.plug(stick.changed)
            pc.let_go()
        case Deed.SILENCE | Deed.MUTE:
            raise NotJudged("QEMU's own drive never falls silent: there is nothing to compare")


def _later(seconds: float, pc: Pc, stick: Stick) -> None:
    def plug() -> None:
        try:
            pc.plug(stick)
        except RigFault:
            return  # a QEMU that has gone: whoever watches it will say so

    timer = threading.Timer(seconds, plug)
    timer.daemon = True
    timer.start()
