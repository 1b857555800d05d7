"""The BIOS's log: what the host writes to its debug port, line by line."""

from __future__ import annotations

import select
import socket
import threading

from harness.observation import BiosLine, Recorder

LINE_LIMIT = 4096
"""A line is cut after so many bytes, whoever prints without an end."""


PIECE = 4096
"""Bytes that are read at once."""


class BiosLog:
    """Reads the log as it is written, on a thread of its own, until QEMU ends."""

    def __init__(self, channel: socket.socket, recorder: Recorder) -> None:
        """The lines that come out of `channel` are added to `recorder`."""
        self._channel = channel
        self._recorder = recorder
        self._part = b""
        """What is read of a line that is not complete yet."""
        self._taking = threading.Lock()
        self._reader = threading.Thread(target=self._run, name="bios log", daemon=True)
        self._reader.start()

    def take(self) -> bool:
        """Take what there is now; whether there can be more.

        QEMU hands a byte to the socket before the guest's instruction ends (hw/char/debugcon.c,
        debugcon_ioport_write): of a machine that is stopped this is all. Whoever judges such a
        machine may come before the log's own thread, which needs a core of this machine for that.
        """
        with self._taking:
            while data := self._receive():
                self._cut(data)
                if len(data) < PIECE:
                    return True  # that was all
            if data is None:
                return True
            if self._part:
                self._add(self._part)
                self._part = b""
            return False

    def join(self, seconds: float) -> None:
        """Wait until all is read of a QEMU that has ended."""
        self._reader.join(seconds)

    def _run(self) -> None:
        readable = select.poll()
        readable.register(self._channel, select.POLLIN)
        while self.take():
            readable.poll()

    def _receive(self) -> bytes | None:
        """What there is; b"" when nothing more will come, None when something may."""
        try:
            return self._channel.recv(PIECE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _cut(self, data: bytes) -> None:
        """Into lines, and what is read of the next one."""
        *lines, self._part = (self._part + data).split(b"\n")
        if len(self._part) > LINE_LIMIT:
            lines, self._part = [*lines, self._part], b""
        for line in lines:
            self._add(line)

    def _add(self, line: bytes) -> None:
        text = line[:LINE_LIMIT].decode("ascii", errors="backslashreplace").rstrip("\r")
        self._recorder.add(lambda at: BiosLine(at, text))
