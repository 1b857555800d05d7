"""What can be seen during a case, one record for each thing seen.

Host and cable make observations, `harness.outcome` decides from them and from nothing
else, and the evidence folder keeps them (`observations.jsonl`), so that a case can be
judged again without QEMU.

`at` is in seconds of wall time since the host was released (QMP `cont`); what was seen
before that has a negative `at`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

_KINDS: dict[str, type[Observation]] = {}

REGISTERS = (
    *("EAX", "EBX", "ECX", "EDX", "ESI", "EDI", "EBP", "ESP"),
    *("EIP", "EFLAGS", "CS", "SS", "DS", "ES", "FS", "GS"),
)
"""Of the processor; of a segment register the selector."""

PAGE = 4096
"""Bytes of a page of memory."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Something seen at a moment."""

    at: float
    progress: ClassVar[bool] = False
    """Whether seeing this shows that the host got on with its boot."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register the kind, so that recordings can be read back."""
        # dataclass(slots=True) makes the class a second time: the later one counts.
        _KINDS[cls.__name__] = cls

    def to_json(self) -> str:
        """One line of JSON; bytes are written as hexadecimal digits."""
        fields: dict[str, Any] = {"kind": type(self).__name__}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            fields[field.name] = value.hex() if isinstance(value, bytes) else value
        return json.dumps(fields)

    @staticmethod
    def from_json(line: str) -> Observation:
        """Read a line that `to_json` wrote. Raises ValueError for anything else."""
        fields = json.loads(line)
        kind = str(fields.pop("kind", "")) if isinstance(fields, dict) else ""
        types = _types(kind)
        if kind not in _KINDS or types.keys() != fields.keys():
            raise ValueError(f"not an observation: {line[:80]!r}")
        for name, value in fields.items():
            if types[name] == "bytes" and isinstance(value, str):
                fields[name] = bytes.fromhex(value)
            elif isinstance(value, list):
                fields[name] = tuple(value)
        return _KINDS[kind](**fields)


@functools.lru_cache
def _types(kind: str) -> dict[str, Any]:
    """The types of an observation's fields, as they are written here, by name."""
    cls = _KINDS.get(kind)
    return {field.name: field.type for field in dataclasses.fields(cls)} if cls else {}


# --- the gadget -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GadgetState(Observation):
    """What configfs on the device says just before the host is started.

    `udc` is empty when the gadget is not bound; `luns` are the LUN folders that are part of
    the configuration, such as "mass_storage.disk0/lun.0"; `drive_promised` says whether the
    gate files ask for a virtual disk.
    """

    udc: str
    functions: tuple[str, ...]
    luns: tuple[str, ...]
    drive_promised: bool


@dataclass(frozen=True, slots=True)
class DeviceDied(Observation):
    """The device switched itself off, restarted or crashed; `how` is a sentence that says so."""

    how: str


# --- the cable ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plugged(Observation):
    """The gadget's device_connect crossed the cable: speed is low, full, high or super."""

    speed: str
    vendor: int
    product: int


@dataclass(frozen=True, slots=True)
class Unplugged(Observation):
    """A device_disconnect crossed the cable: the gadget left, or the cable was cut."""


@dataclass(frozen=True, slots=True)
class CableCut(Observation):
    """The cable was pulled, in the host's eyes: from here on nothing crosses it."""


@dataclass(frozen=True, slots=True)
class CableMuted(Observation):
    """The gadget lost its voice: it stays plugged in, and no answer of its crosses any more."""


@dataclass(frozen=True, slots=True)
class CableMended(Observation):
    """The cable is whole again, after `CableCut` or `CableMuted`."""


@dataclass(frozen=True, slots=True)
class CableBent(Observation):
    """The cable changed what crosses here: `how` says at which packet, and into what."""

    how: str


@dataclass(frozen=True, slots=True)
class BusReset(Observation):
    """The host reset the USB device."""

    progress: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class ControlRequest(Observation):
    """A control transfer that the host asked for (USB 2.0, 9.3).

    `interface_class` is the class of the interface that it is for (USB 2.0, 9.6.5), -1 when it is
    for something else, or for an interface that the gadget told nothing of.
    """

    packet: int
    request_type: int
    request: int
    value: int
    index: int
    length: int
    name: str
    interface_class: int = -1
    progress: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class ControlReply(Observation):
    """The device's answer to the `ControlRequest` of the same `packet` id."""

    packet: int
    status: str
    length: int
    progress: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Stalled(Observation):
    """The device stalled a bulk endpoint of the drive's (USB 2.0, 8.4.5)."""

    endpoint: int
    progress: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class GaveUp(Observation):
    """The host gave up a transfer that was not answered: one of the request or command `name`."""

    name: str
    progress: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class InterruptPolling(Observation):
    """The host began to poll an interrupt IN endpoint (USB 2.0, 5.7), as a keyboard has one.

    The four numbers of the interface are those of its descriptor (USB 2.0, 9.6.5), all 0 but
    the first, which is 255, when the gadget told of no such interface. `usage` is what the
    interface is by its report descriptor (HID 1.11, 6.2.2), usage page in the upper 16 bits,
    and 0 when the host has not read that. Seen once for each endpoint, and again after the
    device was reset, configured or plugged in anew.
    """

    endpoint: int
    interface: int
    interface_class: int
    interface_subclass: int
    interface_protocol: int
    usage: int
    progress: ClassVar[bool] = True


SECTOR = 512
"""Bytes. What a BIOS reads at a time; a CD's blocks hold four."""


def sector_digest(sector: bytes | memoryview) -> str:
    """The digest by which a `ScsiReply` tells sectors apart: 8 bytes of BLAKE2b, as digits."""
    return hashlib.blake2b(sector, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class ScsiCommand(Observation):
    """A command block wrapper that the host sent (USB MSC BOT 1.0, 5.1)."""

    tag: int
    lun: int
    name: str
    cdb: bytes
    length: int
    to_host: bool
    progress: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class ScsiReply(Observation):
    """The command status wrapper that ended a command (USB MSC BOT 1.0, 5.2).

    `status` is "passed", "failed" or "phase error"; `data` holds the first 64 bytes of the
    data phase (512 of what was read from the medium, while there is room for that in the
    stream), `length` counts all of them. `sectors` has the digest of each 512 bytes that were
    read from the medium, in the order of the data phase, of 64 KiB at most.
    """

    tag: int
    name: str
    status: str
    residue: int
    length: int
    data: bytes
    sectors: tuple[str, ...] = ()
    progress: ClassVar[bool] = True


# --- the host -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BiosLine(Observation):
    """A line of the debug console: the BIOS's log, and what a boot payload says there."""

    text: str
    progress: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class HostEvent(Observation):
    """A QMP event of the host: RESET, SHUTDOWN, GUEST_PANICKED."""

    name: str
    guest: bool
    progress: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class CpuSample(Observation):
    """The processor, stopped for a moment.

    `linear` is the linear address of the instruction, `code` the 16 bytes there, `stack` the
    6 bytes at the top of the stack, `flags` EFLAGS, `real_mode` whether CR0.PE is clear,
    `ticks` the BIOS's count of timer interrupts (0040:006C).
    """

    cs: int
    ip: int
    linear: int
    flags: int
    halted: bool
    real_mode: bool
    code: bytes
    stack: bytes
    ticks: int

    @property
    def interrupts_on(self) -> bool:
        """EFLAGS.IF (Intel SDM 1, 3.4.3.3)."""
        return bool(self.flags & 0x200)


@dataclass(frozen=True, slots=True)
class Handover(Observation):
    """The processor came to 0000:7C00, where a BIOS has put the boot sector that it starts.

    `drive` is DL, the BIOS's number of the drive; `sector` the 512 bytes there; `tables` the
    interrupt vectors and the BIOS data area, 0000h to 04FFh, as the BIOS hands them over.
    """

    drive: int
    sector: bytes
    tables: bytes
    progress: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Frozen(Observation):
    """All that decides what the processor does next, at one moment.

    `registers` are in the order of REGISTERS. `mode` is REAL, FLAT_32 or words that name
    another one. `lines` has a bit for each of the 16 interrupt lines that the interrupt
    controllers let in; `remapped` says whether they use other vectors than a PC's BIOS;
    `others` whether an interrupt or NMI may come by an APIC. `ram` is its size in bytes.
    `memory` holds the pages that are needed, `packed`.
    """

    registers: tuple[int, ...]
    mode: str
    halted: bool
    lines: int
    remapped: bool
    others: bool
    ram: int
    memory: bytes

    REAL: ClassVar[str] = "real mode"
    FLAT_32: ClassVar[str] = "flat 32-bit protected mode"

    @property
    def interrupts_on(self) -> bool:
        """EFLAGS.IF (Intel SDM 1, 3.4.3.3)."""
        return bool(self["EFLAGS"] & 0x200)

    @property
    def linear(self) -> int:
        """The address of the next instruction, if `mode` is REAL or FLAT_32."""
        base = self["CS"] * 16 if self.mode == self.REAL else 0
        return base + self["EIP"]

    def __getitem__(self, name: str) -> int:
        """A register by its name."""
        return self.registers[REGISTERS.index(name)]

    def pages(self) -> dict[int, bytes]:
        """`memory`, unpacked: the bytes of each page by its address.

        Raises ValueError when it was not made by `packed`.
        """
        return _unpacked(self.memory)

    @staticmethod
    def packed(pages: Mapping[int, bytes]) -> bytes:
        """`pages`, by address, as `memory` holds them."""
        data = b"".join(a.to_bytes(4, "little") + pages[a] for a in sorted(pages))
        return zlib.compress(data, 6)


@functools.lru_cache(maxsize=8)
def _unpacked(memory: bytes) -> dict[int, bytes]:
    try:
        data = zlib.decompress(memory) if memory else b""
    except zlib.error as error:
        raise ValueError(f"memory that was not packed: {error}") from error
    step = 4 + PAGE
    return {
        int.from_bytes(data[i : i + 4], "little"): data[i + 4 : i + step]
        for i in range(0, len(data), step)
    }


@dataclass(frozen=True, slots=True)
class Acted(Observation):
    """The rig did something to the host, to see what comes of it: one of `Acted`'s words."""

    what: str

    KEY: ClassVar[str] = "pressed a key on the PS/2 keyboard"
    PS2: ClassVar[str] = "pressed Ctrl-Alt-Del on the PS/2 keyboard"
    GADGET_KEY: ClassVar[str] = "pressed a key on the gadget's keyboard"
    GADGET_KEYBOARD: ClassVar[str] = "pressed Ctrl-Alt-Del on the gadget's keyboard"
    UNPLUGGED: ClassVar[str] = "pulled the cable and pressed the reset button"
    DONE: ClassVar[str] = "waited for what came of it"


@dataclass(frozen=True, slots=True)
class Disturbed(Observation):
    """The rig stops the host here, does to it, the cable or the gadget `what`, and lets it go on.

    `after` is the mark that it waited for.
    """

    after: str
    what: str


@dataclass(frozen=True, slots=True)
class Awaited(Observation):
    """From here on it is looked whether the screen shows `words`: those of the medium's own."""

    words: str


@dataclass(frozen=True, slots=True)
class ServerAnswered(Observation):
    """The device's own server answered a request; `answer` is its status and body, or why none."""

    request: str
    answer: str


@dataclass(frozen=True, slots=True)
class TimeUp(Observation):
    """The case's whole time went by: `seconds` in which the host's processor could run."""

    seconds: float


@dataclass(frozen=True, slots=True)
class DiskIo(Observation):
    """The next device's operations so far, seen to have grown since the last look."""

    reads: int
    writes: int
    progress: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Screen(Observation):
    """The text screen, 25 lines joined by line feeds, trailing blanks removed.

    `picture` is a fingerprint of what is shown in a graphics mode, else empty.
    """

    text: str
    picture: str


class Recorder:
    """The one stream of observations of a case, in the order in which they were made.

    Any thread may add; one thread waits. Nothing is ever taken out.
    """

    def __init__(self, before: Iterable[Observation] = ()) -> None:
        """A stream that begins with what was seen `before`; its clock runs until `release`."""
        self._seen: list[Observation] = list(before)
        self._changed = threading.Condition()
        self._zero = time.monotonic()
        self.on_seen: Callable[[Observation], None] | None = None
        """Called after each observation, by whoever adds it, who waits for that."""

    def release(self) -> None:
        """Make this moment the zero of the clock; what was seen before turns negative."""
        with self._changed:
            shift = time.monotonic() - self._zero
            self._seen = [dataclasses.replace(o, at=round(o.at - shift, 6)) for o in self._seen]
            self._zero += shift

    def now(self) -> float:
        """Seconds since the zero of the clock."""
        return round(time.monotonic() - self._zero, 6)

    def add(self, make: Callable[[float], Observation]) -> None:
        """Add what `make` returns for this moment."""
        with self._changed:
            seen = make(self.now())
            self._seen.append(seen)
            self._changed.notify_all()
        if self.on_seen is not None:
            self.on_seen(seen)

    def add_late(self, make: Callable[[float], Observation], since: int) -> None:
        """Add what was seen when `since` observations had been made, but had to be made ready.

        Not if the host has got on since: it would stand behind what came after it.
        """
        with self._changed:
            if not any(o.progress for o in self._seen[since:]):
                self.add(make)

    def seen(self) -> tuple[Observation, ...]:
        """Everything so far."""
        with self._changed:
            return tuple(self._seen)

    def wait(self, already: int, seconds: float) -> tuple[Observation, ...]:
        """Everything so far, once it is more than `already`, or after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._seen) > already, timeout=seconds)
            return tuple(self._seen)

    def wait_until(
        self, holds: Callable[[tuple[Observation, ...]], bool], seconds: float
    ) -> tuple[Observation, ...] | None:
        """Everything so far, once `holds` is true of it; None if that takes over `seconds`."""
        with self._changed:
            if self._changed.wait_for(lambda: holds(tuple(self._seen)), timeout=seconds):
                return tuple(self._seen)
            return None


def write_recording(path: Path, stream: Iterable[Observation]) -> None:
    """Write a stream, one JSON object a line."""
    path.write_text("".join(o.to_json() + "\n" for o in stream), encoding="utf-8")


def read_recording(path: Path) -> tuple[Observation, ...]:
    """Read what `write_recording` wrote. Raises ValueError for anything else."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(Observation.from_json(line) for line in lines)
