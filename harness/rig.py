"""Gadget, cable and host put together; runs one case.

What a requirement test sees: `rig.gadget.start(...)` gives the device a life,
`rig.host.boot(...)` gives the PC one, and the `Boot` that comes back says what happened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import usb.core

from harness.cable.conversation import transcript
from harness.cable.direct import Direct
from harness.cable.pyusb import Backend
from harness.cable.relay import Relay
from harness.deadline import Deadline
from harness.equipment import Equipment
from harness.errors import (
    TOO_BUSY,
    CableError,
    EndpointCollision,
    FirmwareFault,
    NotJudged,
    RigFault,
)
from harness.firmware import Firmware, Gate, Shape, boot_files
from harness.gadget.vm import CTRL_ALT_DEL as GADGET_CTRL_ALT_DEL
from harness.gadget.vm import DIGIT_1, ESCAPE, Configfs, GadgetVm, Lun
from harness.host.pc import Pc
from harness.observation import (
    Acted,
    BiosLine,
    BusReset,
    ControlRequest,
    DeviceDied,
    Disturbed,
    GadgetState,
    Handover,
    HostEvent,
    Observation,
    Recorder,
    TimeUp,
    Unplugged,
    write_recording,
)
from harness.outcome import rules
from harness.outcome.explain import explain
from harness.outcome.future import trimmed
from harness.outcome.kinds import NEXT_DEVICE, Booted, Hung, NoBootDevice, NoDrive, Outcome
from harness.outcome.moments import Deed, Disturbance, Mark, Marks, Moment, post_marks
from harness.outcome.wire import (
    Asked,
    asked,
    keyboard_driven,
    lost_request,
    slow_answer,
)
from harness.owner import disk, escaped_lines, printable
from harness.probe.bulk_only import Drive
from images.emmc import write_emmc
from images.payload import write_boot_disk

CASE_SECONDS = 45.0
"""How long a host may take, in seconds in which it could run. SeaBIOS itself needs 0.2 to 6 s;
each wait of its own is 5 s."""

PATIENCE = 6
"""So many times as long may it take by the clock of a machine that has other things to do."""

FREEZE_SECONDS = (0.15, 4.0)
"""When a quiet processor's state is frozen first, and the longest time between two of them."""

KEY_SECONDS = 1.0
"""How long a host may take to show that it heeds a key, a PC's own or the reset of all keys."""

STILL_SECONDS = 1.2
"""How long a host must stand still before a key; menus count down in seconds."""

KEYS = ("ret", "spc", "esc", "y", "1", "f1")
"""What is offered to a host that may be waiting for a key: no one knows which."""

REBOOT_SECONDS = 15.0
"""How long a host without the gadget may take to its next device; it takes half of one."""

PLUG_SECONDS = 30.0
"""How long the device_connect of a gadget that is on the bus may take to cross the cable."""

QUIET_SECONDS = 0.1
"""With nothing else to see for so long, the processor is looked at."""

USB_CAPTURE = "usb.pcapng"
"""The file of the evidence that holds what crossed the cable."""

REPLUG_SECONDS = 0.5
"""How long a cable that is pulled out stays out."""

RESTARTED = "restarted"
"""Folder of the evidence that a device leaves after it was restarted."""

SAYING_SECONDS = 0.2
"""How often at most what the host is doing is told to whoever watches."""


CTRL_ALT_DEL = ("ctrl", "alt", "delete")

MENU_OFFERED, MENU_OPEN = "Press ESC for boot menu", "Select boot device"
"""SeaBIOS, src/boot.c, interactive_bootmenu: printed on the screen, and in its log."""

MENU = ((MENU_OFFERED, ESCAPE), (MENU_OPEN, DIGIT_1))
"""Which key of the gadget's keyboard is pressed when the BIOS has said what."""


class _Freezing:
    """When to freeze the processor's state: soon after the last progress, then ever more seldom.

    Two states in a row are a proof; later ones are for a host that stops getting on unseen.
    """

    def __init__(self) -> None:
        self._mark = -1
        self._next = 0.0
        self._taken = 0

    def due(self, stream: Sequence[Observation], now: float) -> bool:
        """Whether now, with the host quiet. `now` is a moment as the stream has them."""
        first, longest = FREEZE_SECONDS
        mark = next((i for i in range(len(stream) - 1, -1, -1) if stream[i].progress), -1)
        if mark != self._mark:
            self._mark, self._next, self._taken = mark, stream[mark].at + first, 0
        if now < self._next:
            return False
        self._next = now + min(longest, first * 2 ** max(0, self._taken - 1))
        self._taken += 1
        return True


class _Following:
    """The rules, as they follow one boot; `judged` is how many observations they have taken."""

    def __init__(self, before: Sequence[Observation]) -> None:
        """Of what was seen `before`, only what the BIOS handed over counts."""
        self._judge = rules.Judge()
        self.judged = len(before)
        for handover in (o for o in before if isinstance(o, Handover)):
            self._judge.see(handover)

    def judge(self, stream: Sequence[Observation]) -> Outcome | None:
        """Take what is new, up to what proves an outcome."""
        while self._judge.outcome is None and self.judged < len(stream):
            self._judge.see(stream[self.judged])
            self.judged += 1
        return self._judge.outcome


class _Disturbing:
    """Waits for a mark, and stops the host right there."""

    def __init__(self, disturb: Disturbance, pc: Pc, recorder: Recorder) -> None:
        self.deed = disturb.deed
        self.reached = threading.Event()
        """Whether the mark has come, and the host is stopped."""
        self._wanted = disturb.mark
        self._pc = pc
        self._recorder = recorder
        self._marks = Marks()
        self._lock = threading.Lock()

    def see(self, seen: Observation) -> None:
        """Take an observation; called by whoever made it, BIOS log or cable.

        Who reads the log has to go on: a QEMU that cannot get rid of a byte of it stands still,
        and does not stop its machine either. So that is stopped a moment later, from elsewhere.
        """
        with self._lock:
            mark = self._marks.see(seen)
        if mark != self._wanted:
            return
        if isinstance(seen, BiosLine):
            threading.Thread(target=self._stop, name="disturbing", daemon=True).start()
        else:
            self._stop()

    def _stop(self) -> None:
        try:
            self._pc.hold()
        except RigFault:
            return  # a QEMU that has gone: whoever watches it will say so
        self._recorder.add(lambda at: Disturbed(at, str(self._wanted), self.deed.value))
        self.reached.set()


@dataclass(frozen=True)
class Boot:
    """One boot of the host: what happened, and what was seen.

    `stream` is everything, `judged` how much of it decided the outcome: what the rig tried
    afterwards comes later. `luns` is what was in the drive when the host was started, or when a
    boot that was disturbed hung;
    `data_partition` is None without a gadget.
    """

    outcome: Outcome
    stream: tuple[Observation, ...]
    judged: int
    luns: tuple[Lun, ...]
    data_partition: str | None
    script: str

    @property
    def keyboard_alive(self) -> bool:
        """Whether the PC's own keyboard was heeded when it was pressed, or when it hung."""
        if isinstance(self.outcome, Hung) and self.outcome.recovery is not None:
            return self.outcome.recovery.ps2 == "resets"
        pressed = next((i for i, o in enumerate(self.stream) if isinstance(o, Acted)), None)
        if pressed is None:
            return False
        return any(isinstance(o, HostEvent) and o.name == "RESET" for o in self.stream[pressed:])

    @property
    def menu_opened(self) -> bool:
        """Whether the BIOS showed its boot menu."""
        return _has_said(self.stream, MENU_OPEN)

    @property
    def asked(self) -> Asked:
        """What the host asked of the drive, and what it heard."""
        return asked(self.stream[: self.judged])

    def explain(self) -> str:
        """What the PC did and why, in a few lines for a bug report (`harness.outcome.explain`).

        All of it is printable: it holds what the firmware and its media have written.
        """
        device = ""
        if self.data_partition is not None:
            device = f"data partition {self.data_partition}; {self.script}"
        text = explain(self.outcome, self.stream[: self.judged], self._drive(), device)
        return "\n".join(printable(line, 600) for line in text.splitlines())

    def _drive(self) -> str:
        """Such as " with /dev/mmcblk0p3 in the drive"."""
        if not self.luns:
            return ""
        held = [printable(lun.backing[0], 100) for lun in self.luns if lun.backing]
        return f" with {' and '.join(held)} in the drive" if held else " with an empty drive"


@dataclass
class Record:
    """What a case leaves behind, filled in as it goes on."""

    controller: str | None = None
    bios: str | None = None
    data_partition: str | None = None
    outcome: Outcome | None = None
    boot_seconds: float = 0.0
    evidence: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


class Rig:
    """Gadget, cable and host of one case. `close` it: that collects the evidence too."""

    def __init__(
        self,
        equipment: Equipment,
        scratch: Path,
        evidence: Path,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`scratch` and `evidence` are folders of this case's own; `say` is told what goes on."""
        self.equipment = equipment
        self.record = Record()
        self.gadget = Gadget(self)
        self.host = Host(self)
        self._scratch = scratch
        self._evidence = evidence
        self._say = say
        self._closed = False
        self.recorder = Recorder()

    @property
    def stock(self) -> Firmware:
        """The shipped firmware that has the defect."""
        return self.equipment.stock

    def close(self) -> None:
        """Collect the evidence, then switch everything off. May be called twice."""
        if self._closed:
            return
        self._closed = True
        with contextlib.ExitStack() as stack:
            stack.callback(self.gadget.close)
            stack.callback(self.host.close)
            self.host.collect()
            self.gadget.collect()

    def keep(self, name: str, text: str) -> None:
        """Write a piece of evidence, control characters escaped. Raises DiskFull."""
        shown = escaped_lines(text)
        with disk("the evidence"):
            (self._evidence / name).write_text(shown, encoding="utf-8", errors="backslashreplace")
        self.record.evidence.append(name)


class Gadget:
    """The device of a case."""

    def __init__(self, rig: Rig) -> None:
        """A device without power."""
        self._rig = rig
        self._vm: GadgetVm | None = None
        self.relay: Relay | None = None
        self.state = Configfs("", (), ())
        self.collision: EndpointCollision | None = None
        self.script = "it was not started"
        self._power_on: Callable[[Path], GadgetVm]
        self._gate = Gate.ABSENT

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

        `media` are put on the data partition under their names, `extra` are further files of
        /boot, `firmware` is run in place of the one under test. Whatever the firmware does is
        an observation; what the rig fails at raises RigFault.
        """
        rig = self._rig
        firmware = firmware or rig.equipment.firmware
        rig.record.data_partition = data_partition
        emmc = rig._scratch / "emmc"
        write_emmc(
            emmc,
            kvmapp=firmware.kvmapp,
            firmware_digest=firmware.digest,
            boot_files=boot_files(shape, gate, extra),
            data_partition=data_partition,
            media=media,
        )
        snapshot = rig.equipment.snapshots[shape.udc]

        def power_on(evidence: Path) -> GadgetVm:
            rig._say("device: power on")
            vm = GadgetVm(snapshot, emmc, rig._scratch, evidence)
            if self.relay is None:
                self.relay = Relay(vm.cable)
            else:
                self.relay.replace(vm.cable)
            vm.on_left = self.relay.unplug
            vm.power_on(data_partition)
            return vm

        self._power_on, self._gate = power_on, gate
        self._vm = power_on(rig._evidence)
        self._run_script(self._vm)
        rig.recorder.add(
            lambda at: GadgetState(
                at,
                self.state.udc,
                self.state.functions,
                tuple(lun.name for lun in self.state.luns),
                gate.promises_drive,
            )
        )

    def _run_script(self, vm: GadgetVm) -> None:
        """Let the init script build the gadget, and wait until that is on the bus, if it will be.

        A device that does not survive that is an observation.
        """
        rig = self._rig
        try:
            rig._say("device: its init script runs")
            run = vm.run_init_script("start")
            self.script = str(run)
            self.state = vm.configfs()
            if not (self.state.udc and self.state.luns) and self._gate.promises_drive:
                rig._say("device: no gadget yet")
                self.state = vm.settle()
            if self.state.udc:
                rig._say("device: enumerating")
                vm.wait_enumerated()
        except FirmwareFault as fault:
            self.script = how = str(fault)
            rig.recorder.add(lambda at: DeviceDied(at, how))
        except EndpointCollision as collision:
            self.collision = collision

    def restart(self, gone: Callable[[], None]) -> None:
        """Take the device's power away, and give it back: its init script runs anew.

        `gone` is called when the host has been told that the gadget left. What is on the eMMC
        stays. Raises RigFault when the rig failed.
        """
        assert self._vm is not None
        assert self.relay is not None
        self.relay.lose()
        gone()
        self._rig.record.evidence.extend(self._vm.logs)
        self._vm.close()
        evidence = self._rig._evidence / RESTARTED
        evidence.mkdir()
        self._vm = self._power_on(evidence)
        self._run_script(self._vm)

    def rebind(self, gone: Callable[[], None]) -> None:
        """Unbind the gadget from its USB controller and bind it again, as a "reset usb" does.

        `gone` is called when the host has been told that the gadget left. Raises FirmwareFault
        when the device died, RigFault when the rig failed.
        """
        assert self._vm is not None
        seen = len(self._rig.recorder.seen())
        self._vm.unbind()
        left = self._rig.recorder.wait_until(
            lambda s: any(isinstance(o, Unplugged) for o in s[seen:]), PLUG_SECONDS
        )
        if left is None:
            raise RigFault("the gadget was unbound, and the host was not told that it left")
        gone()
        self._vm.bind()
        self.state = self._vm.configfs()

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
        rig = self._rig
        self.hurry(True)
        capture = rig._evidence / "usb-probe.pcapng"
        with contextlib.closing(Direct(self.relay, rig.recorder, capture)) as direct:
            rig.record.evidence.append(capture.name)
            direct.wait_device(Deadline.after(PLUG_SECONDS, "the gadget to cross the cable"))
            device = usb.core.find(backend=Backend(direct))
            device.set_configuration()
            yield Drive(device, read_only=read_only)
        self.hurry(False)

    def hurry(self, busy: bool) -> None:
        """Let the gadget's end of the cable have the processor, or leave it to others."""
        if self._vm is not None:
            self._vm.hurry(busy)

    def collect(self) -> None:
        """Write what is to be seen on the device into the evidence folder."""
        if self._vm is not None:
            folder = self._vm.evidence.relative_to(self._rig._evidence)
            names = (str(folder / name) for name in self._vm.collect())
            self._rig.record.evidence.extend(names)

    def close(self) -> None:
        """Switch it off."""
        if self.relay is not None:
            self.relay.close()
        if self._vm is not None:
            self._vm.close()


class Host:
    """The PC of a case."""

    def __init__(self, rig: Rig) -> None:
        """A PC without power."""
        self._rig = rig
        self._pc: Pc | None = None
        self._outcome: Outcome | None = None
        self._judged = 0

    def boot(
        self,
        controller: str,
        *,
        bios: str | None = None,
        must_ask_drive: bool = True,
        press: Moment | None = None,
        next_device: Path | None = None,
        seconds: float | None = None,
        disturb: Disturbance | None = None,
        menu: bool = False,
    ) -> Boot:
        """Boot the PC with its USB port on `controller`, and watch until the outcome is proven.

        `bios` is a name or file as of --bios; None is what was chosen for the run.
        With `must_ask_drive` a boot counts only if the host asked the drive that the gate
        files promise. `press` is a moment at which Ctrl-Alt-Del is pressed on the PC's own
        keyboard. `next_device` is the image of the disk that comes second, by default one that
        boots; `seconds` of the host's own time may go by without a proof, CASE_SECONDS unless it
        is given. `disturb` is what is done to the host, its cable or its gadget on its way.
        `menu` has the BIOS offer its boot menu, which the gadget's keyboard is to open, and to
        choose the first entry of.
        Raises NotJudged when the case cannot say anything, RigFault when the rig failed.
        """
        rig = self._rig
        rig.record.controller = controller
        rig.record.bios = bios = bios or rig.equipment.bios
        if rig.gadget.collision is not None:
            raise rig.gadget.collision
        outcome = rules.decide(rig.recorder.seen())
        self._judged = len(rig.recorder.seen())
        if not isinstance(outcome, NoDrive):
            outcome = self._run(
                controller, bios, press, next_device, seconds or CASE_SECONDS, disturb, menu
            )
        rig.record.outcome = self._outcome = outcome
        if isinstance(outcome, Hung) and disturb is not None:
            with contextlib.suppress(FirmwareFault):
                _ = rig.gadget.luns  # what is in the drive may be another by now
        boot = Boot(
            outcome,
            rig.recorder.seen(),
            self._judged,
            rig.gadget.state.luns,
            rig.record.data_partition if rig.gadget.running else None,
            rig.gadget.script,
        )
        rig.keep("explain.txt", boot.explain() + "\n")
        away = disturb is not None and disturb.deed is not Deed.RESET
        if rig.gadget.plugged and not isinstance(outcome, NoDrive) and not away:
            self._check_seen(boot, must_ask_drive)
        return boot

    def _run(
        self,
        controller: str,
        bios: str,
        press: Moment | None,
        next_device: Path | None,
        seconds: float,
        disturb: Disturbance | None,
        menu: bool,
    ) -> Outcome:
        rig = self._rig
        late = disturb is not None and disturb.deed is Deed.PLUG
        self._pc = self._switched_on(
            controller, bios, next_device, USB_CAPTURE, late=late, menu=menu
        )
        relay = rig.gadget.relay
        disturbing = _Disturbing(disturb, self._pc, rig.recorder) if disturb else None
        rig.recorder.on_seen = disturbing.see if disturbing else None
        started = time.monotonic()
        self._pc.release()
        try:
            outcome, self._judged = self._watch(
                self._pc, relay, seconds, press, disturbing, list(MENU) if menu else []
            )
            rig.record.boot_seconds = round(time.monotonic() - started, 3)
            if press is not None:
                self._await_reset()
            if isinstance(outcome, Hung):
                outcome = self._recover(self._pc, relay, outcome)
            return outcome
        finally:
            rig.recorder.on_seen = None
            rig.gadget.hurry(False)  # what follows is for the device's shell

    def _switched_on(
        self,
        controller: str,
        bios: str,
        next_device: Path | None,
        capture: str,
        *,
        late: bool,
        menu: bool = False,
    ) -> Pc:
        """A PC with the gadget in its port, stopped at its first instruction.

        `capture` is the name of the file for what crosses the cable, "" for none; `late` leaves
        the cable cut.
        """
        rig = self._rig
        relay = rig.gadget.relay
        if next_device is None:
            next_device = rig._scratch / "next-device"
            write_boot_disk(next_device, NEXT_DEVICE)
        rig._say("host: power on")
        cable = relay is not None
        pc = Pc(controller, bios, next_device, rig.recorder, rig._scratch, cable=cable, menu=menu)
        rig.gadget.hurry(True)
        if relay is not None and pc.cable is not None:
            if late:
                relay.cut()
            relay.attach(pc.cable, rig.recorder, rig._evidence / capture if capture else None)
            rig.record.evidence.extend([capture] if capture else [])
            if rig.gadget.plugged and not late:
                self._wait_plugged(relay)
        return pc

    def rehearse(
        self, controller: str, *, bios: str | None = None, plugged: bool = True
    ) -> tuple[Outcome, list[Mark]]:
        """Boot a PC that does not count, as `boot` does: how that ends, and the marks of its POST.

        The gadget finds its device reset afterwards. `plugged`: whether it is in the PC's port.
        Raises as `boot` does.
        """
        rig = self._rig
        if rig.gadget.collision is not None:
            raise rig.gadget.collision
        kept, rig.recorder = rig.recorder, Recorder()
        relay = rig.gadget.relay
        bios = bios or rig.equipment.bios
        try:
            for seen in kept.seen():
                if isinstance(seen, GadgetState | DeviceDied):
                    rig.recorder.add(lambda at, seen=seen: seen)  # type: ignore[misc]
            outcome = rules.decide(rig.recorder.seen())
            if isinstance(outcome, NoDrive):
                return outcome, []
            pc = self._switched_on(controller, bios, None, "", late=not plugged)
            with contextlib.closing(pc):
                pc.release()
                outcome, _ = self._watch(pc, relay, CASE_SECONDS, None)
            return outcome, post_marks(rig.recorder.seen())
        finally:
            rig.recorder = kept
            if relay is not None:
                relay.detach()
                relay.mend()

    def _wait_plugged(self, relay: Relay) -> None:
        crossed = Deadline.after(PLUG_SECONDS, "the gadget's device_connect to cross the cable")
        try:
            relay.wait_plugged(crossed)
        except CableError as problem:
            self._device_died(problem)

    def _watch(
        self,
        pc: Pc,
        relay: Relay | None,
        seconds: float,
        press: Moment | None,
        disturbing: _Disturbing | None = None,
        menu: Sequence[tuple[str, bytes]] = (),
        *,
        since: int = 0,
    ) -> tuple[Outcome, int]:
        """Until the outcome is proven, or the host's time is up.

        Returns it, and how many observations it took. What was seen before `since` does not
        count, but for what the BIOS handed over.
        """
        rig = self._rig
        stream = rig.recorder.seen()
        following = _Following(stream[:since])
        patience = Deadline.after(seconds * PATIENCE, "the host to use up its time")
        told = 0.0
        ran = pc.ran
        freezing = _Freezing()
        while True:
            # Before what came of it is judged: the next moment may have come already.
            if press is not None and press.has_come(stream):
                press = None
                self._act(Acted.PS2, partial(pc.press, *CTRL_ALT_DEL))
            if menu and _has_said(stream, menu[0][0]):
                (_, report), menu = menu[0], menu[1:]
                self._act(Acted.GADGET_KEY, partial(self._press_on_gadget, report))
            if disturbing is not None and disturbing.reached.is_set():
                self._disturb(pc, disturbing.deed)
                disturbing, stream = None, rig.recorder.seen()
            if (outcome := following.judge(stream)) is not None:
                return outcome, following.judged
            if relay is not None and relay.problem is not None:
                self._device_died(relay.problem)
                stream = rig.recorder.seen()
                continue
            if pc.ran - ran > seconds:
                self._time_is_up(pc, following)
                stream = rig.recorder.seen()
                continue
            patience.check()
            if time.monotonic() - told > SAYING_SECONDS:
                told = time.monotonic()
                rig._say(_doing(stream))
            stream = rig.recorder.wait(following.judged, QUIET_SECONDS)
            quiet = len(stream) == following.judged
            # As long as an answer is owed: on a busy machine a fiftieth is too little for it.
            rig.gadget.hurry(not quiet or (relay is not None and relay.awaiting))
            if quiet:
                pc.look(trimmed if freezing.due(stream, rig.recorder.now()) else None)
                stream = rig.recorder.seen()
                if rest := rules.may_rest(stream):
                    # The BIOS polls its clock, which the other cases' gadgets pay for.
                    with pc.resting():
                        stream = rig.recorder.wait(len(stream), rest)

    def _disturb(self, pc: Pc, deed: Deed) -> None:
        """Do it to a host that is stopped, and let that go on.

        Raises RigFault; a device that dies of it is an observation.
        """
        gadget = self._rig.gadget
        assert gadget.relay is not None
        self._rig._say(f"host: {deed.value}")
        try:
            match deed:
                case Deed.RESET:
                    pc.reset()
                    pc.let_go()
                case Deed.REPLUG:
                    gadget.relay.cut()
                    pc.let_go()
                    gadget.relay.mend(REPLUG_SECONDS)
                case Deed.PLUG:
                    gadget.relay.mend()
                    pc.let_go()
                case Deed.REBIND:
                    gadget.rebind(pc.let_go)
                case Deed.RESTART:
                    gadget.restart(pc.let_go)
                case Deed.QUICK_REBIND:
                    gadget.rebind(lambda: None)
                    self._wait_back(gadget, pc)
                case Deed.QUICK_RESTART:
                    gadget.restart(lambda: None)
                    self._wait_back(gadget, pc)
            gadget.hurry(True)
        except FirmwareFault as fault:
            how = str(fault)
            self._rig.recorder.add(lambda at: DeviceDied(at, how))

    def _wait_back(self, gadget: Gadget, pc: Pc) -> None:
        """Let the host go on when the gadget is plugged in again, if the firmware has bound it."""
        assert gadget.relay is not None
        if gadget.plugged:
            gadget.hurry(True)
            self._wait_plugged(gadget.relay)
        pc.let_go()

    def _act(self, what: str, do: Callable[[], None]) -> None:
        """Do something to the host; the stream says that it was done."""
        self._rig.recorder.add(lambda at: Acted(at, what))
        do()

    def _done(self) -> None:
        self._rig.recorder.add(lambda at: Acted(at, Acted.DONE))

    def _time_is_up(self, pc: Pc, following: _Following) -> None:
        """Offer keys to a host that came to no end, and say that its time is up."""
        rig = self._rig
        pc.show()
        self._wait_progress(STILL_SECONDS)
        for key in KEYS:
            pc.show()
            self._act(Acted.KEY, partial(pc.press, key))
            self._wait_progress(KEY_SECONDS)
            pc.show()
            self._done()
            if following.judge(rig.recorder.seen()) is not None:
                return
        rig.recorder.add(lambda at: TimeUp(at, round(pc.ran, 1)))

    def _wait_progress(self, seconds: float) -> None:
        """Wait until the host gets on, `seconds` at most."""
        before = len(self._rig.recorder.seen())
        self._rig.recorder.wait_until(lambda s: any(o.progress for o in s[before:]), seconds)

    def _await_reset(self, since: int = 0) -> bool:
        """Whether the host resets itself within the time that a keyboard may take."""
        return (
            self._rig.recorder.wait_until(
                lambda s: any(isinstance(o, HostEvent) and o.name == "RESET" for o in s[since:]),
                KEY_SECONDS,
            )
            is not None
        )

    def _recover(self, pc: Pc, relay: Relay | None, hung: Hung) -> Outcome:
        """Try what brings the hung host back, each for real.

        First what a KVM's user has, the gadget's keyboard. A host that this resets hangs again,
        with the drive still in, before the next is tried.
        """
        rig = self._rig
        rig._say("host: hung; what brings it back?")
        if relay is not None and keyboard_driven(rig.recorder.seen()):
            since = len(rig.recorder.seen())
            self._act(Acted.GADGET_KEYBOARD, partial(self._press_on_gadget, GADGET_CTRL_ALT_DEL))
            reset = self._await_reset(since)
            self._done()
            if reset:
                self._watch(pc, relay, CASE_SECONDS, None, since=len(rig.recorder.seen()))
        since = len(rig.recorder.seen())
        self._act(Acted.PS2, partial(pc.press, *CTRL_ALT_DEL))
        self._await_reset(since)
        self._done()
        if relay is not None and rig.gadget.plugged:
            self._act(Acted.UNPLUGGED, relay.detach)
            since = len(rig.recorder.seen())
            pc.reset()
            rig.recorder.wait_until(lambda s: any(map(_says_booted, s[since:])), REBOOT_SECONDS)
            self._done()
        return dataclasses.replace(hung, recovery=rules.recovered(rig.recorder.seen()))

    def _press_on_gadget(self, report: bytes) -> None:
        """Keys on the gadget's keyboard; a device that dies of it has not pressed them."""
        self._rig.gadget.hurry(True)
        with contextlib.suppress(FirmwareFault):
            self._rig.gadget.press(report)

    def _device_died(self, problem: RigFault) -> None:
        """Observe that the device died, if that is why the cable broke; else raise `problem`."""
        try:
            self._rig.gadget.check_alive()
        except FirmwareFault as fault:
            how = str(fault)
            self._rig.recorder.add(lambda at: DeviceDied(at, how))
        else:
            raise problem

    def _check_seen(self, boot: Boot, must_ask_drive: bool) -> None:
        """A boot says something of the drive only if the host has asked the drive.

        Raises RigFault when a plugged gadget was never seen, or when an answer came so late, or
        not at all, that the host had given up on the drive; NotJudged when the host looked at
        the gadget and did not ask its drive.
        """
        stream = boot.stream[: boot.judged]
        if not any(isinstance(o, ControlRequest | BusReset) for o in stream):
            raise RigFault("the gadget was plugged in and the host never looked at it")
        promised = any(isinstance(o, GadgetState) and o.drive_promised for o in stream)
        if not (must_ask_drive and promised) or not isinstance(boot.outcome, Booted | NoBootDevice):
            return
        if late := slow_answer(stream):
            raise RigFault(f"{late}, and the host gave up on it ({boot.outcome}): {TOO_BUSY}")
        if lost := lost_request(stream):
            raise RigFault(
                f"the host gave up on a request that never came to the cable ({lost}; "
                f"{boot.outcome}): {TOO_BUSY}"
            )
        if boot.asked.asked_the_drive or not isinstance(boot.outcome, Booted):
            return
        raise NotJudged(
            f"the host saw the gadget, never asked its drive and {boot.outcome}: its BIOS drives "
            "one interface of a device, and took another"
        )

    def collect(self) -> None:
        """Write what is to be seen on the host into the evidence folder."""
        rig = self._rig
        if self._pc is None:
            return
        rig.record.evidence.extend(self._pc.collect(rig._evidence))
        self._pc.close()
        if rig.gadget.relay is not None:
            rig.gadget.relay.detach()
            if rig.gadget.relay.gadget_version:
                rig.record.versions["usbredirect"] = printable(rig.gadget.relay.gadget_version)
        stream = rig.recorder.seen()
        lines = [f"{o.at:9.3f}  {o.text}" for o in stream if isinstance(o, BiosLine)]
        for line in (o.text for o in stream if isinstance(o, BiosLine)):
            if "(version" in line:
                rig.record.versions["bios"] = printable(line)
                break
        rig.keep("bios.log", "".join(line + "\n" for line in lines))
        rig.keep("wire.txt", transcript(stream))
        with disk("the evidence"):
            write_recording(rig._evidence / "observations.jsonl", stream)
        rig.record.evidence.append("observations.jsonl")

    def close(self) -> None:
        """Switch it off."""
        if self._pc is not None:
            self._pc.close()


def _has_said(stream: Sequence[Observation], words: str) -> bool:
    return any(isinstance(seen, BiosLine) and words in seen.text for seen in stream)


def _says_booted(seen: Observation) -> bool:
    return isinstance(seen, BiosLine) and seen.text.startswith(rules.MARK)


def _doing(stream: Sequence[Observation]) -> str:
    """What the host is doing just now, for whoever watches."""
    for seen in reversed(stream):
        if isinstance(seen, BiosLine) and seen.text.strip():
            return f"host: {printable(seen.text.strip(), 70)}"
    return "host: power on"
