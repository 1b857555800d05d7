"""The host's memory, shared with its QEMU: read as it is, without asking anybody.

A memfd that QEMU maps as the machine's RAM (`memory-backend-file` on our descriptor): it has
no name in the file system and goes away with the last of the two processes.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os

from harness.errors import RigFault
from harness.owner import disk


class GuestMemory:
    """RAM of `size` bytes below 4 GiB, byte n at physical address n. `close` it.

    What lies between A0000h and BFFFFh is the display adapter's and not here. The BIOS's
    own code from C0000h on is, once it has copied itself there (SeaBIOS, src/fw/shadow.c).
    """

    def __init__(self, size: int) -> None:
        """Raises DiskFull, RigFault."""
        self.size = size
        with disk("the host's memory", "make"):
            self.fd = os.memfd_create("bootgate-host-ram")
            try:
                os.ftruncate(self.fd, size)
                self._map = mmap.mmap(self.fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
            except BaseException:
                os.close(self.fd)
                raise

    def arguments(self) -> tuple[str, ...]:
        """QEMU's arguments; it has to inherit `fd` under its number."""
        backend = f"memory-backend-file,id=ram,size={self.size},share=on"
        return (
            *("-object", f"{backend},mem-path=/proc/self/fd/{self.fd}"),
            *("-machine", "memory-backend=ram"),
        )

    def read(self, address: int, count: int) -> bytes:
        """Bytes from a physical address on; fewer where RAM ends, none outside."""
        return self._map[address : address + count] if 0 <= address < self.size else b""

    def copy(self, end: int) -> mmap.mmap:
        """All up to the physical address `end`, as it is now, at most all. Raises RigFault.

        Only what the machine has ever touched is read, a few MB: the rest of a memfd is holes
        (lseek(2), SEEK_DATA), and not there in the copy either until somebody looks.
        """
        end = min(end, self.size)
        copy, at = mmap.mmap(-1, end), 0
        with disk("the host's memory", "read"), memoryview(copy) as view:
            while at < end and (start := self._next(at, os.SEEK_DATA)) < end:
                at = min(end, self._next(start, os.SEEK_HOLE))
                count = os.preadv(self.fd, [view[start:at]], start)
                if count != at - start:
                    raise RigFault(f"of {at - start} bytes of the host's memory came {count}")
        return copy

    def _next(self, address: int, what: int) -> int:
        try:
            return os.lseek(self.fd, address, what)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return self.size  # no data any more

    def close(self) -> None:
        """Let go of it. May be called twice."""
        self._map.close()
        with contextlib.suppress(OSError):
            os.close(self.fd)
            self.fd = -1
