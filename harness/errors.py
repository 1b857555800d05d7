"""Every error that Bootgate raises on purpose, in one tree.

Three branches, because three people have to act on them:

* `UsageError`: whoever typed the command. Exit status 2.
* `RigFault`: whoever keeps the rig (tools, machine, this program). Exit status 3.
* `FirmwareFault`: whoever wrote the firmware under test. It becomes an outcome
  (`no_drive`) and never ends the run by itself.

And `NotJudged`, which is nobody's fault: a case that cannot say anything.

Each message says what happened, to what, and what the user can do.
"""

TOO_BUSY = "the machine is too busy for the rig; run fewer cases at once (--workers)"
"""What a user can do about a rig that had too little of the machine."""


class BootgateError(Exception):
    """Root of the tree. `str(error)` is one line, fit to be shown as it is."""

    exit_status = 3


class UsageError(BootgateError):
    """The command or its input cannot be used; nothing was started."""

    exit_status = 2


class FirmwareError(UsageError):
    """What `--firmware` names is not a firmware tree that can be run."""


class ReportFolderError(UsageError):
    """The report folder cannot be used."""


class RigFault(BootgateError):
    """The instrument failed; what it was looking at is not to blame."""

    exit_status = 3


class ToolError(RigFault):
    """A program, kernel or file that the rig is made of is missing or does not work."""


class DiskFull(RigFault):
    """The disk that holds the cache or the report has no room left."""


class QemuError(RigFault):
    """QEMU did not start, ended by itself, or refused a command."""


class ConsoleError(RigFault):
    """A serial console did not answer as a shell does."""


class ShellEnded(ConsoleError):
    """The shell on a serial console was ended before it answered; there is another now."""


class CableError(RigFault):
    """The USB link between gadget and host broke or carried nonsense."""


class TransferFailed(CableError):
    """The device did not carry out what it was asked over the cable; `status` says how."""

    def __init__(self, what: str, status: str) -> None:
        """`what` was asked, such as "64 bytes for endpoint 02"."""
        super().__init__(f"{what}: {status}")
        self.status = status


class DeviceLeft(CableError):
    """There is no device on the cable, or no more."""


class DeadlineExpired(RigFault):
    """Something that the rig waited for did not come in its time."""


class FirmwareFault(BootgateError):
    """The firmware under test did something that leaves the host nothing to look at."""


class Misbehaved(FirmwareFault):
    """The drive did what Bulk-Only Transport does not let it do."""


class ServerFault(FirmwareFault):
    """The device's own server is gone, hangs, or answers what no client can understand."""


class Refused(ServerFault):
    """The device's own server did not do what it was asked, and said so; `code` is its own."""

    def __init__(self, what: str, code: int, message: str) -> None:
        """`what` was asked, such as "mounting /data/a.img"."""
        super().__init__(f"the server refused {what}: code {code}, {message}")
        self.code = code
        self.message = message


class Untrue(ServerFault):
    """The device's own server said what is not so: of what is in the drive, or that it did it."""


class NotJudged(BootgateError):
    """A case that says nothing about its requirement; the message says why."""


class EndpointCollision(NotJudged):
    """Two interfaces of the gadget got one endpoint address from the virtual UDC.

    A limit of the rig (dummy_hcd), never a result.
    """
