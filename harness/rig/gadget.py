"""The device of a case: a gadget VM, and the end of the cable that is plugged into it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import usb.core

from harness.cable.direct import Direct
from harness.cable.pyusb import Backend
from harness.cable.relay import Relay
from harness.deadline import Deadline
from harness.errors import (
    BootgateError,
    CableError,
    EndpointCollision,
    FirmwareFault,
    NotJudged,
    Refused,
    RigFault,
    ServerFault,
)
from harness.firmware import Firmware, Gate, Shape, boot_files
from harness.gadget.vm import Configfs, GadgetVm, Lun
from harness.observation import DeviceDied, GadgetState, ServerAnswered, Unplugged
from harness.owner import disk, printable
from harness.probe.bulk_only import Drive
from harness.qemu import starved
from harness.rig.case import BOOT_SCRIPT, Case
from harness.rig.server import DeviceServer
from images.emmc import DATA_SIZE, DATA_START, write_emmc

PLUG_SECONDS = 30.0
"""How long the device_connect of a gadget that is on the bus may take to cross the cable."""

LOOK_SECONDS = 0.05
"""How often it is looked whether a server is done."""

HASTE_SECONDS = 2.0
"""How long after its answer a server may still be doing what it says that it has done."""

PATIENCE = 10
"""So many times as long may that take by the clock of a machine that has other things to do."""

LEFT_SECONDS = 2.0
"""How long what a firmware has started for a moment may take to end."""

EMMC, DATA = "vda", "vda3"
"""What the gadget VM's kernel calls the eMMC and its data partition (images/gadget_vm/init)."""

LIFE = "life-{}"
"""Folder of the evidence that a device leaves in its second life, and in each later one."""


class Gadget:
    """The device of a case."""

    def __init__(self, case: Case) -> None:
        """A device without power."""
        self._case = case
        self._vm: GadgetVm | None = None
        self.relay: Relay | None = None
        self.state = Configfs("", (), ())
        self.collision: EndpointCollision | None = None
        self.script = "it was not started"
        self._power_on: Callable[[Path], GadgetVm]
        self._emmc: Path
        self._gate = Gate.ABSENT
        self._firmware: Firmware | None = None
        self._server: DeviceServer | None = None
        self._drive_promised = False
        self._lives = 0

    def start(
        self,
        *,
        gate: Gate,
        shape: Shape = Shape.HID_AND_STORAGE,
        data_partition: str = "exfat",
        media: Sequence[Path] = (),
        extra: Mapping[str, bytes] | None = None,
        firmware: Firmware | None = None,
    ) -> None:
        """Power the device on and let its own init script build the gadget.

        One that is on already loses its power, and its eMMC with all that was written on it.
        `media` are put on the data partition under their names, `extra` are further files of
        /boot, `firmware` is run in place of the one under test. Whatever the firmware does is
        an observation; what the rig fails at raises RigFault.
        """
        case = self._case
        self._firmware = firmware = firmware or case.equipment.firmware
        case.record.data_partition = data_partition
        self._power_off()
        self._emmc = emmc = case.scratch / "emmc"
        write_emmc(
            emmc,
            kvmapp=firmware.kvmapp,
            overlay=firmware.overlay,
            firmware_digest=firmware.digest,
            boot_files=boot_files(shape, gate, extra),
            data_partition=data_partition,
            media=media,
        )
        snapshot = case.equipment.snapshots[shape.udc]

        def power_on(evidence: Path) -> GadgetVm:
            case.say("device: power on")
            vm = GadgetVm(snapshot, emmc, case.scratch, evidence)
            if self.relay is None:
                self.relay = Relay(vm.cable)
            else:
                self.relay.replace(vm.cable)
            vm.on_left = self.relay.unplug
            self._vm = vm  # from here on it is closed with everything else
            vm.power_on(data_partition)
            return vm

        self._power_on, self._gate = power_on, gate
        self._vm = power_on(self._new_life())
        self._run_script(self._vm)
        self._observe(gate.promises_drive)

    def _observe(self, drive_promised: bool) -> None:
        """Put what the firmware has built into the stream."""
        self._drive_promised = drive_promised
        self._case.recorder.add(
            lambda at: GadgetState(
                at,
                self.state.udc,
                self.state.functions,
                tuple(lun.name for lun in self.state.luns),
                drive_promised,
            )
        )

    def _run_script(self, vm: GadgetVm) -> None:
        """Let the init script build the gadget, and wait until that is on the bus, if it will be.

        A device that does not survive that is an observation.
        """
        case = self._case
        self.changed_by(BOOT_SCRIPT)
        try:
            case.say("device: its init script runs")
            run = vm.run_init_script("start")
            self.script = str(run)
            self.state = vm.configfs()
            if not (self.state.udc and self.state.luns) and self._gate.promises_drive:
                case.say("device: no gadget yet")
                self.state = vm.settle()
            if self.state.udc:
                case.say("device: enumerating")
                vm.wait_enumerated()
        except FirmwareFault as fault:
            self.script = how = str(fault)
            case.recorder.add(lambda at: DeviceDied(at, how))
        except EndpointCollision as collision:
            self.collision = collision

    def restart(self, gone: Callable[[], None]) -> None:
        """Take the device's power away, and give it back: its init script runs anew.

        `gone` is called when the host has been told that the gadget left. What is on the eMMC
        stays. Raises RigFault when the rig failed.
        """
        assert self._vm is not None
        self._power_off(gone)
        self._vm = self._power_on(self._new_life())
        self._run_script(self._vm)

    def _power_off(self, gone: Callable[[], None] = lambda: None) -> None:
        if self._vm is None or self.relay is None:
            return
        self.relay.lose()
        gone()
        self._case.record.evidence.extend(map(self._named, self._vm.logs))
        self._vm.close()
        self._vm = self._server = None
        self.state, self.collision = Configfs("", (), ()), None

    def _new_life(self) -> Path:
        """Where the evidence of the device's next life goes."""
        self._lives += 1
        if self._lives == 1:
            return self._case.evidence
        folder = self._case.evidence / LIFE.format(self._lives)
        folder.mkdir()
        return folder

    def _named(self, file: str) -> str:
        """A file of this life's evidence, as the case's evidence names it."""
        assert self._vm is not None
        return str(self._vm.evidence.relative_to(self._case.evidence) / file)

    def rebind(self, gone: Callable[[], None]) -> None:
        """Unbind the gadget from its USB controller and bind it again, as a "reset usb" does.

        `gone` is called when the host has been told that the gadget left. Raises FirmwareFault
        when the device died, RigFault when the rig failed.
        """
        assert self._vm is not None
        seen = len(self._case.recorder.seen())
        self._vm.unbind()
        left = self._case.recorder.wait_until(
            lambda s: any(isinstance(o, Unplugged) for o in s[seen:]), PLUG_SECONDS
        )
        if left is None:
            raise RigFault("the gadget was unbound, and the host was not told that it left")
        gone()
        self._vm.bind()
        self.state = self._vm.configfs()

    def serve(self) -> DeviceServer:
        """The device's own server, started if it does not run yet.

        Raises NotJudged when the firmware has none, ServerFault when it does not come up, else as
        `luns` does.
        """
        assert self._vm is not None
        assert self._firmware is not None
        if self._server is None:
            case = self._case
            if why := self._firmware.without_server:
                raise NotJudged(why)
            if not self.state.udc:
                raise FirmwareFault(f"there is no gadget for a server to drive; {self.script}")
            # Here, because what speaks HTTP takes a third of the time in which Bootgate starts.
            from harness.firmware.server import Server
            from harness.gadget.http import ShellTransport, start_server

            case.say("device: its server starts")
            start_server(self._vm)
            self._server = DeviceServer(Server(ShellTransport(self._vm), self._told), self)
        return self._server

    def _told(self, request: str, answer: str) -> None:
        self._case.say(f"device: {printable(request, 70)}")
        said = printable(answer, 400)
        self._case.recorder.add(lambda at: ServerAnswered(at, printable(request, 400), said))

    def change_medium(self, mounts: bool, gone: Callable[[], None]) -> None:
        """Have its server mount the first image that it offers, or unmount what is mounted.

        `gone` is called when the host has been told that the gadget left, as it does on a "reset
        usb", or when the server is done without that. A server that refuses, and has changed the
        drive or taken it off the bus all the same, has done something: what comes of it counts.
        Raises as DeviceServer does otherwise, and NotJudged when it has no image to offer.
        """
        self.hurry(False)  # the host stands still: the processor is the server's
        server, before = self.serve(), self.luns
        images = server.images() if mounts else []
        if mounts and not images:
            raise NotJudged("the server offers no image to mount")
        seen = len(self._case.recorder.seen())
        failed: list[BootgateError] = []

        def change() -> None:
            try:
                server.mount(images[0]) if mounts else server.unmount()
            except BootgateError as error:
                failed.append(error)

        changing = threading.Thread(target=change, name="server", daemon=True)
        changing.start()
        while changing.is_alive():
            stream = self._case.recorder.wait(seen, LOOK_SECONDS)
            if any(isinstance(o, Unplugged) for o in stream[seen:]):
                break
            changing.join(0 if len(stream) > seen else LOOK_SECONDS)
        gone()
        changing.join()
        left = any(isinstance(o, Unplugged) for o in self._case.recorder.seen()[seen:])
        touched = left or self.state.luns != before
        if failed and not (isinstance(failed[0], Refused) and touched):
            raise failed[0]

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions of the gadget, in its order, as configfs says now. Raises as `luns`."""
        assert self._vm is not None
        self.state = self._vm.configfs()
        return self.state.functions

    def left(self, settled: Callable[[Sequence[str]], bool]) -> Sequence[str]:
        """What is there of the gadget, a line each.

        Folders and links in configfs, the functions' devices, what is mounted, what runs. Helpers
        that end by themselves have `LEFT_SECONDS` for that: it is looked until `settled` is true
        of it. Raises as `luns` does.
        """
        assert self._vm is not None
        late = Deadline.after(LEFT_SECONDS, "what the firmware has started to end")
        while True:
            seen = self._vm.left()
            if settled(seen) or late.expired:
                return seen

    def digest(self, path: str) -> str:
        """The SHA-256 of a file on the device, in hexadecimal, "" when it cannot read that.

        Raises as `luns` does.
        """
        assert self._vm is not None
        return self._vm.digest(path)

    def data(self) -> bytes:
        """The data partition, byte for byte, with all that the device had to write.

        What the device reads afterwards it reads from there. Raises DiskFull, else as `luns`.
        """
        assert self._vm is not None
        self._vm.flush()
        with disk("the device's eMMC", "read"), open(self._emmc, "rb") as emmc:
            emmc.seek(DATA_START)
            return emmc.read(DATA_SIZE)

    def data_offsets(self) -> dict[int, int]:
        """Of each LUN that the data partition backs, where in it its first byte lies.

        In bytes; negative for a LUN that is all of the eMMC. Only the first drive's count, for
        only that is spoken to. Raises as `luns` does.
        """
        offsets, luns = {}, self.luns
        for lun in luns:
            function, _, number = lun.name.rpartition("/lun.")
            name = (lun.backing[-1] if lun.backing else "").rpartition(":")[2]
            if name in (EMMC, DATA) and function == luns[0].name.rpartition("/lun.")[0]:
                offsets[int(number)] = 0 if name == DATA else -DATA_START
        return offsets

    def changed_by(self, code_path: str) -> None:
        """From here on the drive is what this part of the firmware makes of it."""
        self._case.record.code_path = code_path

    def make_folder(self, path: str) -> None:
        """Make a folder on the device. Raises as `luns` does."""
        assert self._vm is not None
        self._vm.make_folder(path)

    def make_link(self, path: str, target: str) -> None:
        """Make a symbolic link on the device. Raises as `luns` does."""
        assert self._vm is not None
        self._vm.make_link(path, target)

    def lengthen(self, path: str, size: int | None) -> int:
        """Lengthen a file on the device; None: to the most that its file system takes.

        Returns how many bytes it has then. Raises as `luns` does.
        """
        assert self._vm is not None
        return self._vm.lengthen(path, size)

    def put_in_drive(self, file: str) -> None:
        """Write `file` into the first LUN, past the server; "" takes out what is in it.

        Raises RigFault when the kernel does not take it, else as `luns` does.
        """
        assert self._vm is not None
        self._vm.fill(file)
        self.state = self._vm.configfs()

    @contextlib.contextmanager
    def changing(self, promise: Callable[[], bool] | None = None) -> Iterator[None]:
        """While its server does something to the gadget; then that is on the cable again.

        `promise`: afterwards, whether there has to be a drive; None if that is as before. Raises
        EndpointCollision for a limit of the rig, else as `luns` does.
        """
        self.hurry(True)
        try:
            if self.relay is not None:
                self.relay.wait_reset(Deadline.after(PLUG_SECONDS, "the gadget to be reset"))
            try:
                yield
            except Refused:
                self._changed(self._drive_promised)  # it may have been bound anew all the same
                raise
            except ServerFault:
                with contextlib.suppress(BootgateError):  # that it failed is what counts
                    self._changed(self._drive_promised)
                raise
            self._changed(self._drive_promised if promise is None else promise())
        except CableError:
            self.check_alive()  # or it is the device that broke it
            raise
        finally:
            self.hurry(False)

    def nothing_plugged_in(self) -> contextlib.AbstractContextManager[None]:
        """Within, the gadget is in no port. Raises as `luns` does."""
        assert self._vm is not None
        return self._vm.nothing_plugged_in()

    def _changed(self, drive_promised: bool) -> None:
        """Observe what the device's server has made of the gadget, once it is on the cable."""
        assert self._vm is not None
        self.state = self._vm.configfs()
        if drive_promised and not (self.state.udc and self.state.luns):
            self.state = self._vm.settle()  # a server may answer before it is done
        if self.state.udc:
            self._vm.wait_enumerated()
        self._observe(drive_promised)

    @property
    def running(self) -> bool:
        """Whether the device was started."""
        return self._vm is not None

    @property
    def plugged(self) -> bool:
        """Whether the firmware has bound its gadget to the USB controller."""
        return bool(self.state.udc)

    @property
    def luns(self) -> tuple[Lun, ...]:
        """The LUNs of the gadget and what backs them, as configfs says now.

        Raises FirmwareFault when the device died, RigFault when its shell does not answer.
        """
        if self._vm is None:
            return ()
        self.state = self._vm.configfs()
        return self.state.luns

    @property
    def drive_lun(self) -> Lun | None:
        """The LUN that the device's server drives, lun.0 of its first drive. Raises as `luns`."""
        _ = self.luns
        return self.seen_lun

    @property
    def seen_lun(self) -> Lun | None:
        """The same, as it was when the gadget was last looked at."""
        return next((lun for lun in self.state.luns if lun.name.endswith("/lun.0")), None)

    @property
    def seen_drives(self) -> tuple[str, ...]:
        """The gadget's drives, as functions of its configuration, when it was last looked at."""
        # configfs names a function TYPE.INSTANCE (usb/gadget/configfs.c, function_make).
        return tuple(name for name in self.state.functions if name.startswith("mass_storage."))

    def give_time(self, so: Callable[[], bool]) -> None:
        """Wait until what is seen of the bound gadget is `so`, or a hasty server had its time.

        That is time in which the device could run: two that are busy share the machine's cores with
        all that the rig does. Raises as `luns` does.
        """
        assert self._vm is not None
        # While it is not bound the server is not done with it, whatever it looks like.
        if self.plugged and so():
            return
        began, starved = time.monotonic(), self._vm.starved
        patience = Deadline.after(HASTE_SECONDS * PATIENCE, "the device's server to have its time")
        while time.monotonic() - began - (self._vm.starved - starved) < HASTE_SECONDS:
            patience.check()
            time.sleep(LOOK_SECONDS)  # configfs tells nobody that something has changed
            self.state = self._vm.configfs()
            if self.plugged and so():
                with self.changing():
                    pass  # what else it was late with is on the cable then, too
                return

    def check_alive(self) -> None:
        """Raise FirmwareFault when the device has switched itself off or restarted."""
        if self._vm is not None:
            self._vm.check_alive()

    def press(self, report: bytes) -> bool:
        """Press keys on the gadget's keyboard, as a KVM's user does: a boot keyboard's report.

        Whether the host took it, which says nothing of what it did with it; without a gadget
        nobody does. Raises as `luns` does.
        """
        return self._vm is not None and self._vm.press(report)

    @contextlib.contextmanager
    def drive(self, *, read_only: bool = False) -> Iterator[Drive]:
        """The drive, to be asked directly (`harness.probe`), with the cable in no host.

        `read_only`: its medium should be. What is said is in the case's evidence. Raises
        FirmwareFault when the gadget has no drive or is not on the bus, NotJudged for a limit of
        the rig, RigFault when the rig failed.
        """
        if self.collision is not None:
            raise self.collision
        if self.relay is None or not self.plugged:
            raise FirmwareFault(f"the gadget is not on the bus; {self.script}")
        case = self._case
        self.hurry(True)
        capture = case.evidence / "usb-probe.pcapng"
        with contextlib.ExitStack() as stack:
            stack.callback(self.hurry, False)
            direct = Direct(self.relay, case.recorder, capture)
            stack.enter_context(contextlib.closing(direct))
            case.record.evidence.append(capture.name)
            direct.wait_device(Deadline.after(PLUG_SECONDS, "the gadget to cross the cable"))
            try:
                yield _drive(direct, read_only)
            except CableError:
                self.check_alive()  # or it is the device that broke it
                raise
            except usb.core.USBError as error:
                raise FirmwareFault(f"the drive does not answer: {error}") from error

    @property
    def starved(self) -> float:
        """Seconds for which the device, or this process, could run and had no core of the machine.

        The longest of its threads, of those that run now.
        """
        own = starved(os.getpid())
        return own + self._vm.starved if self._vm is not None else own

    def hurry(self, busy: bool) -> None:
        """Let the gadget's end of the cable have the processor, or leave it to others."""
        if self._vm is not None:
            self._vm.hurry(busy)

    def collect(self) -> None:
        """Write what is to be seen on the device into the evidence folder."""
        if self._vm is not None:
            self._case.record.evidence.extend(map(self._named, self._vm.collect()))

    def close(self) -> None:
        """Switch it off."""
        if self.relay is not None:
            self.relay.close()
        if self._vm is not None:
            self._vm.close()


def _drive(direct: Direct, read_only: bool) -> Drive:
    """The drive of the device that is plugged in, configured. Raises FirmwareFault."""
    try:
        device = usb.core.find(backend=Backend(direct))
        device.set_configuration()
        return Drive(device, read_only=read_only)
    except usb.core.USBError as error:
        raise FirmwareFault(f"the gadget cannot be configured: {error}") from error
