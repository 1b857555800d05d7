"""LIFE: the host's and the device's lives overlap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import NotJudged
from harness.firmware import Gate
from harness.observation import Disturbed
from harness.outcome.kinds import (
    MEDIUM,
    NEXT_DEVICE,
    Booted,
    Hung,
    Inconclusive,
    NoDrive,
    Outcome,
    ResetLoop,
)
from harness.outcome.moments import Deed, Disturbance
from harness.plugin import requirement, swept
from harness.rig import Boot, Rig

PARTS = 40
"""Into so many parts POST is divided, by its marks: the BIOS's lines and what crosses the cable."""


IMAGE = "/data/boot.img"


def untouched(rig: Rig) -> None:
    """As the boot script left it."""


def mounted(rig: Rig) -> None:
    rig.gadget.serve().mount(IMAGE)


def unmounted(rig: Rig) -> None:
    mounted(rig)
    rig.gadget.serve().unmount()


@dataclass(frozen=True)
class Held:
    """What is in the drive: by which gate file, and what was done then; what the host boots."""

    gate: Gate
    ends: str
    then: Callable[[Rig], None] = untouched


EMPTY, FULL = Held(Gate.EMPTY, NEXT_DEVICE), Held(Gate.path(IMAGE), MEDIUM)
HELD = {"empty": EMPTY, "image": FULL}
SERVED = {
    "mounted": Held(Gate.EMPTY, MEDIUM, mounted),
    "unmounted": Held(Gate.EMPTY, NEXT_DEVICE, unmounted),
}


def disturbed(
    rig: Rig,
    controller: str,
    deed: Deed,
    part: int,
    held: Held,
    image: Path,
    kept: Callable[[Outcome], bool],
) -> Boot:
    """A boot on whose way something is done, `part` parts after its beginning.

    `image` is on the device, and in the drive if `held` has it there. Raises NotJudged when a boot
    without that does not end there, when this boot came to its end without passing the mark, or
    when it ends as it must not, which `kept` says, and does so with QEMU's own drive, too.
    """
    rig.gadget.start(gate=held.gate, media=[image])
    held.then(rig)
    if deed.by_server:
        rig.gadget.serve()
    whole = rig.host.rehearse(controller, plugged=deed.begins_plugged)
    wanted = Booted(held.ends if deed.begins_plugged else NEXT_DEVICE)
    if whole.outcome != wanted:
        raise NotJudged(
            f"a boot that nothing disturbs ends otherwise: {whole.outcome}, not {wanted}"
        )
    mark = whole.marks[part * len(whole.marks) // PARTS]
    disturbance = Disturbance(mark, deed)
    boot = rig.host.boot(controller, must_ask_drive=False, disturb=disturbance)
    if not any(isinstance(seen, Disturbed) for seen in boot.stream[: boot.judged]):
        raise NotJudged(f"{boot.outcome}, and never came to {mark}")
    # What is not proven, or a gadget that is gone, is nothing that a host does.
    if not (kept(boot.outcome) or isinstance(boot.outcome, Inconclusive | NoDrive)):
        in_drive = None if held.ends == NEXT_DEVICE and not deed.mounts else image
        rig.check_host(controller, disturbance, whole, boot, in_drive)
    return boot


@requirement("LIFE-1")
@pytest.mark.parametrize(
    ("held", "part"),
    [
        pytest.param(held, part, id=f"{name}-{part:02}", marks=marks)
        for name, held in {**HELD, **SERVED}.items()
        for part in range(PARTS)
        for marks in [() if (name, part) == ("empty", 32) else swept]
    ],
)
def test_a_warm_reset_ends_where_a_cold_boot_ends(
    rig: Rig,
    boot_image: Callable[[str], Path],
    held: Held,
    part: int,
    fast_controller: str,
) -> None:
    wanted, image = Booted(held.ends), boot_image("boot.img")
    boot = disturbed(
        rig, fast_controller, Deed.RESET, part, held, image, lambda outcome: outcome == wanted
    )
    assert boot.outcome == wanted, boot.explain()


def goes_on(outcome: Outcome) -> bool:
    return not isinstance(outcome, Hung | ResetLoop | NoDrive)


MOMENTS = [
    pytest.param(deed, part, id=f"{deed.name.lower()}-{part:02}", marks=marks)
    for deed, default in (
        *((Deed.MOUNT, ()), (Deed.QUICK_MOUNT, ())),
        *((Deed.UNMOUNT, ()), (Deed.QUICK_UNMOUNT, (8,))),
    )
    for part in range(PARTS)
    for marks in [() if part in default else swept]
]


@requirement("LIFE-2")
@pytest.mark.parametrize(("deed", "part"), MOMENTS)
def test_a_change_of_medium_never_hangs_the_host(
    rig: Rig, boot_image: Callable[[str], Path], deed: Deed, part: int, fast_controller: str
) -> None:
    held = EMPTY if deed.mounts else FULL
    boot = disturbed(rig, fast_controller, deed, part, held, boot_image("boot.img"), goes_on)
    assert goes_on(boot.outcome), boot.explain()


def deeds(**default: tuple[int, ...]) -> list[object]:
    """Deeds by their names, in each part of POST, with either in the drive.

    With an empty drive in the default parts; all others are swept.
    """
    return [
        pytest.param(
            *(held, Deed[name], part),
            id=f"{'' if held is EMPTY else what + '-'}{name.lower()}-{part:02}",
            marks=() if held is EMPTY and part in parts_of else swept,
        )
        for name, parts_of in default.items()
        for what, held in HELD.items()
        for part in range(PARTS)
    ]


@requirement("LIFE-3")
@pytest.mark.parametrize(("held", "deed", "part"), deeds(REBIND=(), QUICK_REBIND=(8,)))
def test_a_rebind_never_hangs_the_host(
    rig: Rig,
    boot_image: Callable[[str], Path],
    held: Held,
    deed: Deed,
    part: int,
    fast_controller: str,
) -> None:
    boot = disturbed(rig, fast_controller, deed, part, held, boot_image("boot.img"), goes_on)
    assert goes_on(boot.outcome), boot.explain()


@requirement("LIFE-4")
@pytest.mark.parametrize(("held", "deed", "part"), deeds(RESTART=(), QUICK_RESTART=(4,), PLUG=()))
def test_a_device_that_comes_late_or_again(
    rig: Rig,
    boot_image: Callable[[str], Path],
    held: Held,
    deed: Deed,
    part: int,
    fast_controller: str,
) -> None:
    """A host that was given a medium and lost it may boot either."""
    either, image = (Booted(NEXT_DEVICE), Booted(held.ends)), boot_image("boot.img")
    boot = disturbed(
        rig, fast_controller, deed, part, held, image, lambda outcome: outcome in either
    )
    assert boot.outcome in either, boot.explain()
