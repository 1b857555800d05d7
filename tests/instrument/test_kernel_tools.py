"""The kernel's own driver (usb-storage, sg) and sg3-utils hear what the probe hears."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cable import fixed_rig

from harness.cable.scsi import Sense, parse_sense
from harness.deadline import Deadline
from harness.gadget.vm import GadgetVm
from harness.outcome.kinds import MEDIUM
from harness.probe.bulk_only import PASSED, Drive
from harness.probe.checks import INQUIRY, READ_CAPACITY, Held, read_10, write_10
from harness.probing import STATES
from harness.rig import Rig
from images.payload import write_boot_disk

pytestmark = pytest.mark.rig

LINKER = "/tmp/tools/ld-linux-x86-64.so.2 --library-path /tmp/tools"

# What is asked, and how many bytes at most come or, with a minus, go.
COMMANDS = {
    "TEST UNIT READY": (bytes(6), 0),
    "INQUIRY": (INQUIRY, 36),
    "INQUIRY of a page that is not there": (bytes((0x12, 1, 0x1F, 0, 36, 0)), 36),
    "operation code C3h": (bytes((0xC3, *bytes(9))), 0),
    "MODE SENSE(6)": (bytes((0x1A, 0, 0x3F, 0, 192, 0)), 192),
    "READ CAPACITY(10)": (READ_CAPACITY, 8),
    "READ(10) of the first block": (read_10(0, 1), 512),
    "READ(10) far behind the end": (read_10(0x7FFFFFFF, 1), 512),
    "WRITE(10) of the second block": (write_10(1, 1), -512),
    "WRITE(10) far behind the end": (write_10(0x7FFFFFFF, 1), -512),
}


def tools(path: Path) -> None:
    """A tar archive with sg_raw and the libraries that it needs."""
    program = shutil.which("sg_raw")
    assert program is not None, "install package sg3-utils"
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    with tarfile.open(path, "w", dereference=True) as archive:
        for file in (program, *re.findall(r"(/\S+) \(0x", done.stdout)):
            archive.add(file, Path(file).name)
        block = tarfile.TarInfo("zeros")
        block.size = 512
        archive.addfile(block, io.BytesIO(bytes(512)))


def heard_by_kernel(vm: GadgetVm, cdb: bytes, length: int) -> tuple[bytes, Sense | None]:
    """What sg_raw gets for a command, and the sense that the kernel fetched by itself."""
    into = f"-r {length} -o /tmp/came" if length > 0 else ""
    out_of = f"-s {-length} -i /tmp/tools/zeros" if length < 0 else ""
    command = f"rm -f /tmp/came; {LINKER} /tmp/tools/sg_raw -v {into} {out_of} /dev/sg0 "
    command += cdb.hex(" ") + "; touch /tmp/came; xxd -p /tmp/came | tr -d '\\n'"
    said = vm._run(command, Deadline.after(30, "sg_raw")).text
    came = re.findall(r"^[0-9a-f]*$", said, re.M)[-1]
    raw = re.search(r"Raw sense data.*\n((?:[ 0-9a-f]+\n)+)", said)
    return bytes.fromhex(came), parse_sense(bytes.fromhex(raw[1])) if raw else None


def heard_by_probe(drive: Drive, cdb: bytes, length: int) -> tuple[bytes, Sense | None]:
    reply = drive.ask(cdb, abs(length), to_host=length >= 0)
    return reply.data, None if reply.status == PASSED else drive.sense()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with fixed_rig(tmp_path) as made:
        yield made


@pytest.mark.parametrize("held", Held, ids=lambda held: held.name.lower())
def test_sg3_utils_get_the_same(rig: Rig, tmp_path: Path, held: Held) -> None:
    tools(tmp_path / "tools.tar")
    write_boot_disk(tmp_path / "boot.img", MEDIUM)
    gate, extra = STATES[held]
    media = [tmp_path / "tools.tar", tmp_path / "boot.img"]
    rig.gadget.start(gate=gate, extra=extra, media=media)
    with rig.gadget.drive(read_only=held is Held.READ_ONLY) as drive:
        drive.settle()
        ours = {name: heard_by_probe(drive, *asked) for name, asked in COMMANDS.items()}
    vm = rig.gadget._vm
    assert vm is not None
    for command in (
        "kill $(cat /run/plugged.pid)",
        "mkdir /tmp/tools && tar xf /data/tools.tar -C /tmp/tools",
        "/lib/bootgate/load drive",
        # usb-storage waits a second before it scans (its parameter delay_use).
        "for try in $(seq 200); do [ -c /dev/sg0 ] && break; sleep 0.1; done; [ -c /dev/sg0 ]",
    ):
        vm._check(command, "the kernel's own driver")
    heard_by_kernel(vm, bytes(6), 0)  # UNIT ATTENTION: the device was reset
    theirs = {name: heard_by_kernel(vm, *asked) for name, asked in COMMANDS.items()}
    assert theirs == ours
    senses = {name: sense and (sense.key, sense.asc) for name, (_, sense) in ours.items()}
    assert senses["operation code C3h"] == (0x05, 0x20)
    assert senses["READ(10) of the first block"] == ((0x02, 0x3A) if not gate.content else None)
