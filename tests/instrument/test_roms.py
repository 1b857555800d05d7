"""The option ROMs: how they are built, and what a PC does with each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.errors import ToolError
from harness.host.pc import BIOSES, Pc
from harness.observation import BiosLine, CpuSample, HostEvent, Observation, Recorder
from harness.outcome.future import IRET
from harness.outcome.rules import GAVE_UP, MARK
from harness.rig.host import CTRL_ALT_DEL
from images import rom
from images.payload import DISK_SIZE, write_boot_disk
from images.rom import BLOCK, ROMS, SOURCES, finished, option_rom


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("BOOTGATE_CACHE", str(path))
    return path


# --- how they are built ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 100, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 1, 3 * BLOCK])
def test_size_and_checksum(size: int) -> None:
    code = (b"\x55\xaa\0" + bytes(range(1, 256)) * 10)[:size]
    done = finished(code)
    assert len(done) % BLOCK == 0
    assert size < len(done) <= size + BLOCK
    assert done[2] == len(done) // BLOCK
    assert sum(done) % 256 == 0
    assert (done[:2], done[3:size]) == (code[:2], code[3:])
    assert not any(done[size:-1])


def test_a_rom_whose_size_has_no_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="byte must be in range"):
        finished(bytes(256 * BLOCK))


def test_every_rom_has_a_source_and_a_name_that_is_a_bios(cache: Path) -> None:
    assert {path.stem for path in SOURCES.glob("*.asm")} == set(ROMS)
    assert set(ROMS) < set(BIOSES)
    for name in ROMS:
        built = option_rom(name).read_bytes()
        assert built[:2] == b"\x55\xaa"
        assert sum(built) % 256 == 0
        assert built[2] * BLOCK == len(built)
        # No header of another kind, which SeaBIOS would follow (src/std/optionrom.h).
        assert not any(built[0x18:0x1C])
        assert f"{name}: Booting from hard disk 80h\n\0".encode() in built


def test_a_rom_that_was_damaged_in_the_cache_is_made_again(cache: Path) -> None:
    whole = option_rom("strict").read_bytes()
    os.truncate(option_rom("strict"), 100)
    assert option_rom("strict").read_bytes() == whole


def test_a_rom_is_made_anew_when_a_source_changes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rom, "SOURCES", tmp_path)
    (tmp_path / "a.asm").write_text('%include "b.inc"\n')
    (tmp_path / "b.inc").write_text("db 1\n")
    assert option_rom("a").read_bytes()[0] == 1
    (tmp_path / "b.inc").write_text("db 2\n")
    assert option_rom("a").read_bytes()[0] == 2
    (tmp_path / "a.asm").write_text("no such instruction\n")
    with pytest.raises(ToolError, match="nasm failed"):
        option_rom("a")


# --- what a PC does -------------------------------------------------------------------------

EXFAT = b"\xeb\x76\x90EXFAT   " + bytes(499) + b"\x55\xaa"
"""A first sector as mkfs.exfat makes it: a jump over its fields into zeros, and 55AA."""

TEXT = (b"This is text, and no program. " * 20)[:512]


class Host:
    """A PC with no gadget whose first hard disk is the given image, and what is seen of it."""

    def __init__(self, bios: str, disk: Path, scratch: Path) -> None:
        self.recorder = Recorder()
        self.pc = Pc("ehci", bios, disk, self.recorder, scratch, cable=False)
        self.pc.release()

    @property
    def lines(self) -> list[str]:
        return [s.text for s in self.recorder.seen() if isinstance(s, BiosLine)]

    def wait_for(self, text: str) -> None:
        assert self.recorder.wait_until(
            lambda seen: any(isinstance(s, BiosLine) and text in s.text for s in seen), 30
        ), f"no {text!r} in: {self.lines[-5:]}"

    def samples(self, number: int = 8) -> list[CpuSample]:
        """Looks at the processor, a twentieth of a second apart."""
        for _ in range(number):
            time.sleep(0.05)
            self.pc.look(None)
        return [s for s in self.recorder.seen() if isinstance(s, CpuSample)][-number:]

    def end(self) -> tuple[int, int]:
        """Where, CS and IP, the invalid opcode is that the processor cannot get past.

        The interrupt that it is leads to an IRET in the BIOS, and that back to it. Now and then
        the timer's interrupt is seen instead.
        """
        late = time.monotonic() + 20
        while True:
            seen = self.samples(16)
            irets = [s.stack for s in seen if s.code[:1] == bytes([IRET])]
            places = {
                (int.from_bytes(s[2:4], "little"), int.from_bytes(s[:2], "little")) for s in irets
            }
            places |= {(s.cs, s.ip) for s in seen if s.cs != 0xF000}
            if len(places) == 1:
                return places.pop()
            assert time.monotonic() < late, places

    def ctrl_alt_del(self) -> None:
        self.pc.press(*CTRL_ALT_DEL)

    def resets(self, seconds: float) -> bool:
        """Whether the PC has reset itself, now or within `seconds`."""

        def reset(seen: Sequence[Observation]) -> bool:
            return any(isinstance(s, HostEvent) and s.name == "RESET" and s.guest for s in seen)

        return self.recorder.wait_until(reset, seconds) is not None


Boots = Callable[[str, bytes], Host]


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boots]:
    """Boot a BIOS with a disk that begins with a sector; an empty one means no disk to read.

    One at a time: the last one is switched off first.
    """
    hosts: list[Host] = []

    def start(bios: str, sector: bytes) -> Host:
        for host in hosts:
            host.pc.close()
        disk = tmp_path / "disk"
        disk.write_bytes(sector)
        os.truncate(disk, DISK_SIZE if sector else 0)
        hosts.append(Host(bios, disk, tmp_path))
        return hosts[-1]

    yield start
    for host in hosts:
        host.pc.close()


@pytest.fixture
def bootable(tmp_path: Path) -> bytes:
    write_boot_disk(tmp_path / "bootable", "test")
    return (tmp_path / "bootable").read_bytes()[:512]


@pytest.mark.rig
@pytest.mark.parametrize("bios", ROMS)
def test_it_boots_a_disk_that_can_be_booted(boot: Boots, bootable: bytes, bios: str) -> None:
    host = boot(bios, bootable)
    host.wait_for(f"{MARK}test")
    said = [line for line in host.lines if line.startswith((f"{bios}: ", MARK, "Booting"))]
    assert said == [f"{bios}: Booting from hard disk 80h", f"{MARK}test"]


@pytest.mark.rig
def test_blind_boots_a_disk_without_55aa(boot: Boots, bootable: bytes) -> None:
    boot("blind", bootable[:510]).wait_for(f"{MARK}test")


@pytest.mark.rig
@pytest.mark.parametrize("sector", [bytes(512), TEXT], ids=["zeros", "text"])
def test_strict_halts_without_55aa_and_its_keyboard_is_dead(boot: Boots, sector: bytes) -> None:
    host = boot("strict", sector)
    host.wait_for("strict: no 55AA on hard disk 80h, halting")
    assert all(s.halted and not s.interrupts_on for s in host.samples())
    host.ctrl_alt_del()
    assert not host.resets(1.5)


@pytest.mark.rig
@pytest.mark.parametrize("bios", BIOSES)
def test_a_signature_without_a_program_runs_wild_alike(boot: Boots, bios: str) -> None:
    host = boot(bios, EXFAT)
    host.wait_for("Booting from")
    cs, ip = host.end()
    assert cs == 0
    assert ip < 0x400  # in the interrupt table: blind.asm
    host.ctrl_alt_del()
    assert host.resets(5)


@pytest.mark.rig
@pytest.mark.parametrize("sector", [bytes(512), TEXT], ids=["zeros", "text"])
def test_blind_runs_wild_in_what_is_no_program_the_same_way_each_time(
    boot: Boots, sector: bytes
) -> None:
    seen = set()
    for _ in range(3):
        host = boot("blind", sector)
        host.wait_for("blind: Booting from hard disk 80h")
        seen.add(host.end())
        assert MARK not in "".join(host.lines)
    assert len(seen) == 1, seen


@pytest.mark.rig
def test_blind_leaves_nothing_in_free_memory_but_the_sector(boot: Boots, tmp_path: Path) -> None:
    # A sector that waits where it is: nothing moves any more but the BIOS's own clock.
    sector = b"\xfa\xf4\xeb\xfd".ljust(510, b"\x90") + b"\x55\xaa"
    host = boot("blind", sector)
    host.wait_for("blind: Booting from hard disk 80h")
    assert all(s.cs * 16 + s.ip in (0x7C01, 0x7C02) for s in host.samples(4))
    where = {"val": 0, "size": 640 << 10, "filename": str(tmp_path / "memory")}
    host.pc._qemu.execute("pmemsave", where)
    memory = (tmp_path / "memory").read_bytes()
    top = int.from_bytes(memory[0x413:0x415], "little") << 10  # what INT 12h says
    assert memory[0x7C00:0x7E00] == sector
    # Below it the return address of the jump, and what an interrupt before the CLI pushed.
    assert not any(memory[0x500:0x7B00])
    assert not any(memory[0x7E00:top])


@pytest.mark.rig
@pytest.mark.parametrize("bios", ROMS)
def test_a_disk_that_cannot_be_read_is_left_to_the_bios(boot: Boots, bios: str) -> None:
    host = boot(bios, b"")
    host.wait_for(GAVE_UP)
    assert f"{bios}: hard disk 80h cannot be read, INT 18h" in host.lines
    assert any(s.halted and s.interrupts_on for s in host.samples())


@pytest.mark.rig
@pytest.mark.parametrize("bios", ROMS)
def test_a_sector_that_returns_has_failed(boot: Boots, bios: str) -> None:
    sector = b"\xcb".ljust(510, b"\0") + b"\x55\xaa"  # RETF
    host = boot(bios, sector)
    host.wait_for(GAVE_UP)


@pytest.mark.rig
@pytest.mark.parametrize("bios", ROMS)
def test_a_warm_reset_starts_it_again(boot: Boots, bootable: bytes, bios: str) -> None:
    host = boot(bios, bootable)
    host.wait_for(f"{MARK}test")
    host.ctrl_alt_del()
    assert host.resets(5)
    line = f"{bios}: Booting from hard disk 80h"
    assert host.recorder.wait_until(lambda _: host.lines.count(line) == 2, 10)
