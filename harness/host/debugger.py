"""QEMU's gdb stub: stops the host at an address, exactly there.

Only for that. The stub speaks the gdb Remote Serial Protocol (GDB manual, appendix E): packets
"$DATA#CHECKSUM", each acknowledged with "+". While the machine runs, every byte that the stub
gets stops it (QEMU 7.2, gdbstub.c, gdb_read_byte): so nothing is sent then, and the stops that
QMP commands bring about are read and not acknowledged.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from harness.errors import QemuError

ANSWER_SECONDS = 10.0
"""How long the stub may take to answer; it takes less than a millisecond."""

BREAKPOINT_STOP = "T05"
"""A stop reply with SIGTRAP: a breakpoint was met. Every other stop is somebody else's."""


class Debugger:
    """The stub's client. `close` it before its QEMU."""

    def __init__(self, channel: socket.socket, address: int, met: Callable[[], None]) -> None:
        """Have the stopped machine stop at the linear `address`, the next time it gets there.

        `met` is called from another thread then, with the machine stopped; when it returns
        the breakpoint is gone and the machine runs on. Raises QemuError.
        """
        self._channel = channel
        self._address = address
        self._met = met
        self._pending = b""
        self._armed = True
        self._answered = threading.Event()
        channel.settimeout(ANSWER_SECONDS)
        self._ask(f"Z1,{address:x},1")
        self._acknowledge()
        channel.settimeout(None)
        self._thread = threading.Thread(target=self._listen, name="debugger", daemon=True)
        self._thread.start()

    def arm(self) -> None:
        """Have the stopped machine stop there once more, if it has been there.

        Raises QemuError.
        """
        if self._armed:
            return
        self._armed = True
        self._answered.clear()
        self._send(f"Z1,{self._address:x},1")
        if not self._answered.wait(ANSWER_SECONDS):
            raise QemuError(f"the host's gdb stub said nothing for {ANSWER_SECONDS:g} s")
        self._acknowledge()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, QemuError):
            while packet := self._packet():
                if packet == "OK":  # what `arm` waits for
                    self._answered.set()
                elif self._armed and packet.startswith(BREAKPOINT_STOP):
                    self._acknowledge()
                    self._met()
                    self._ask(f"z1,{self._address:x},1")
                    self._acknowledge()
                    self._armed = False
                    self._send("c")

    def _ask(self, request: str) -> None:
        self._send(request)
        answer = self._packet()
        if answer != "OK":
            raise QemuError(f"the host's gdb stub answered {answer[:60]!r} to {request!r}")

    def _send(self, data: str) -> None:
        self._channel.sendall(f"${data}#{sum(data.encode()) & 0xFF:02x}".encode())

    def _acknowledge(self) -> None:
        self._channel.sendall(b"+")

    def _packet(self) -> str:
        """The next packet's data; "" when the stub has gone."""
        while True:
            start = self._pending.find(b"$")
            end = self._pending.find(b"#", start)
            if start >= 0 and 0 <= end <= len(self._pending) - 3:
                data = self._pending[start + 1 : end]
                self._pending = self._pending[end + 3 :]
                return data.decode("ascii", errors="replace")
            more = self._channel.recv(4096)
            if not more:
                return ""
            self._pending += more

    def close(self) -> None:
        """End the thread. May be called twice."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)
        self._channel.close()
