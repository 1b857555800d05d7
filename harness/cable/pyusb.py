"""A backend of pyusb over the cable: usb.core.find(backend=...) finds the gadget at its end.

Without libusb, root or /dev/bus/usb; what works here works on a real USB port with pyusb's own
backend. Errors are those that pyusb's libusb backend gives (usb/backend/libusb1.py, _check):
USBTimeoutError, or USBError with EPIPE for a stall and ENODEV for a device that left.
"""

from __future__ import annotations

import errno
import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import usb.backend
import usb.core

from harness.cable.direct import Direct
from harness.cable.usbredir import DeviceConnect
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, DeviceLeft, TransferFailed

# USB 2.0, tables 9-8, 9-10, 9-12, 9-13 (bDescriptorType is the key), without the first two bytes.
_FIELDS = {
    1: (
        "<HBBBBHHHBBBB",
        "bcdUSB bDeviceClass bDeviceSubClass bDeviceProtocol bMaxPacketSize0 idVendor idProduct "
        "bcdDevice iManufacturer iProduct iSerialNumber bNumConfigurations",
    ),
    2: (
        "<HBBBBB",
        "wTotalLength bNumInterfaces bConfigurationValue iConfiguration bmAttributes bMaxPower",
    ),
    4: (
        "<BBBBBBB",
        "bInterfaceNumber bAlternateSetting bNumEndpoints bInterfaceClass bInterfaceSubClass "
        "bInterfaceProtocol iInterface",
    ),
    5: ("<BBHB", "bEndpointAddress bmAttributes wMaxPacketSize bInterval"),
}
_DEVICE, _CONFIGURATION, _INTERFACE, _ENDPOINT = _FIELDS
_GET_DESCRIPTOR, _CLEAR_FEATURE = 6, 1
_SECONDS = 5.0
"""For what pyusb has no timeout of its own: standard requests (USB 2.0, 9.2.6.1: 5 s)."""

_ERRNO = {
    "stall": errno.EPIPE,
    "timeout": errno.ETIMEDOUT,
    "babble": errno.EOVERFLOW,
    "inval": errno.EINVAL,
}


@dataclass(frozen=True)
class _Found:
    """The device that is on the cable when pyusb looks."""

    connected: DeviceConnect


class Backend(usb.backend.IBackend):  # type: ignore[misc]
    """One device, at the end of one cable."""

    def __init__(self, direct: Direct) -> None:
        """`direct` is plugged in and stays the caller's to close."""
        super().__init__()
        self._direct = direct
        self._configurations: dict[int, list[SimpleNamespace]] = {}
        self._polled: set[int] = set()

    # --- which device -----------------------------------------------------------------------

    def enumerate_devices(self) -> Iterator[_Found]:
        """The device, if there is one now."""
        if self._direct.device is not None:
            yield _Found(self._direct.device)

    def get_parent(self, dev: _Found) -> None:
        """No hub is seen."""
        return

    def get_device_descriptor(self, dev: _Found) -> SimpleNamespace:
        """Read it from the device."""
        with _as_usb_error():
            data = self._descriptor(_DEVICE, 0, 18)
        found = _parsed(data)[0]
        place = {"bus": 1, "address": 1, "port_number": 1, "port_numbers": (1,)}
        # util.SPEED_LOW is 1, usbredir's low speed 0; both count on to super speed.
        vars(found).update(place, speed=dev.connected.speed + 1)
        return found

    def get_configuration_descriptor(self, dev: _Found, config: int) -> SimpleNamespace:
        """By its place, as the device sends it."""
        return self._configuration(config)[0]

    def get_interface_descriptor(
        self, dev: _Found, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        """By its place and that of its setting. Raises IndexError when there is none."""
        return self._settings(config)[intf][alt][0]

    def get_endpoint_descriptor(
        self, dev: _Found, ep: int, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        """By its place. Raises IndexError when there is none."""
        return self._settings(config)[intf][alt][1:][ep]

    def _descriptor(self, kind: int, index: int, length: int) -> bytes:
        deadline = Deadline.after(_SECONDS, "a descriptor")
        return self._direct.control_in(
            0x80, _GET_DESCRIPTOR, kind << 8 | index, 0, length, deadline
        )

    def _configuration(self, config: int) -> list[SimpleNamespace]:
        if config not in self._configurations:
            with _as_usb_error():
                head = self._descriptor(_CONFIGURATION, config, 9)
                total = int.from_bytes(head[2:4], "little")
                self._configurations[config] = _parsed(
                    self._descriptor(_CONFIGURATION, config, total)
                )
        return self._configurations[config]

    def _settings(self, config: int) -> list[list[list[SimpleNamespace]]]:
        """For each interface, for each of its settings: its descriptor, then its endpoints'."""
        interfaces: dict[int, list[list[SimpleNamespace]]] = {}
        setting: list[SimpleNamespace] = []
        for found in self._configuration(config)[1:]:
            if found.bDescriptorType == _INTERFACE:
                setting = [found]
                interfaces.setdefault(found.bInterfaceNumber, []).append(setting)
            else:
                setting.append(found)
        return list(interfaces.values())

    # --- its state --------------------------------------------------------------------------

    def open_device(self, dev: _Found) -> _Found:
        """Nothing has to be opened."""
        return dev

    def close_device(self, dev_handle: _Found) -> None:
        """Stop polling, so that the next who asks hears only what comes later."""
        with _as_usb_error():
            while self._polled:
                self._direct.stop_polling(self._polled.pop(), _within(None, "polling to stop"))

    def set_configuration(self, dev_handle: _Found, config_value: int) -> None:
        """SET_CONFIGURATION."""
        with _as_usb_error():
            self._polled.clear()
            self._direct.set_configuration(config_value, _within(None, "SET_CONFIGURATION"))

    def get_configuration(self, dev_handle: _Found) -> int:
        """GET_CONFIGURATION."""
        with _as_usb_error():
            return self._direct.configuration(_within(None, "GET_CONFIGURATION"))

    def set_interface_altsetting(self, dev_handle: _Found, intf: int, altsetting: int) -> None:
        """SET_INTERFACE."""
        with _as_usb_error():
            self._direct.set_interface(intf, altsetting, _within(None, "SET_INTERFACE"))

    def claim_interface(self, dev_handle: _Found, intf: int) -> None:
        """Nobody else is there."""

    def release_interface(self, dev_handle: _Found, intf: int) -> None:
        """Nobody else is there."""

    def is_kernel_driver_active(self, dev_handle: _Found, intf: int) -> bool:
        """No kernel is at this end."""
        return False

    def clear_halt(self, dev_handle: _Found, ep: int) -> None:
        """CLEAR_FEATURE(ENDPOINT_HALT) (USB 2.0, 9.4.5)."""
        with _as_usb_error():
            deadline = _within(None, f"CLEAR_FEATURE of endpoint {ep:02X}")
            self._direct.control_out(0x02, _CLEAR_FEATURE, 0, ep, b"", deadline)

    def reset_device(self, dev_handle: _Found) -> None:
        """Reset it; its configuration stays, as with libusb."""
        with _as_usb_error():
            self._polled.clear()
            self._direct.reset()

    # --- transfers --------------------------------------------------------------------------

    def ctrl_transfer(
        self,
        dev_handle: _Found,
        bmRequestType: int,
        bRequest: int,
        wValue: int,
        wIndex: int,
        data: array[int],
        timeout: int,
    ) -> int:
        """Into or out of `data`; how many bytes were moved."""
        what = f"control transfer {bmRequestType:02X} {bRequest:02X}"
        request = (bmRequestType, bRequest, wValue, wIndex)
        with _as_usb_error():
            deadline = _within(timeout, what)
            if bmRequestType & 0x80:
                return _into(data, self._direct.control_in(*request, len(data), deadline))
            return self._direct.control_out(*request, data.tobytes(), deadline)

    def bulk_write(
        self, dev_handle: _Found, ep: int, intf: int, data: array[int], timeout: int
    ) -> int:
        """How many bytes were taken."""
        with _as_usb_error():
            deadline = _within(timeout, f"endpoint {ep:02X} to take {len(data)} bytes")
            return self._direct.bulk_out(ep, data.tobytes(), deadline)

    def bulk_read(
        self, dev_handle: _Found, ep: int, intf: int, buff: array[int], timeout: int
    ) -> int:
        """How many bytes came."""
        with _as_usb_error():
            deadline = _within(timeout, f"{len(buff)} bytes of endpoint {ep:02X}")
            return _into(buff, self._direct.bulk_in(ep, len(buff), deadline))

    def intr_write(
        self, dev_handle: _Found, ep: int, intf: int, data: array[int], timeout: int
    ) -> int:
        """How many bytes were taken."""
        with _as_usb_error():
            deadline = _within(timeout, f"endpoint {ep:02X} to take {len(data)} bytes")
            return self._direct.interrupt_out(ep, data.tobytes(), deadline)

    def intr_read(
        self, dev_handle: _Found, ep: int, intf: int, buff: array[int], timeout: int
    ) -> int:
        """How many bytes of the next report came. Polling goes on behind it."""
        with _as_usb_error():
            deadline = _within(timeout, f"a report of endpoint {ep:02X}")
            if ep not in self._polled:
                self._direct.poll(ep, deadline)
                self._polled.add(ep)
            return _into(buff, self._direct.interrupt_in(ep, deadline))


def _within(milliseconds: int | None, what: str) -> Deadline:
    """pyusb's timeouts; 0 is none (usb.core, timeout)."""
    if milliseconds is None:
        return Deadline.after(_SECONDS, what)
    return Deadline.after(milliseconds / 1000 if milliseconds else float("inf"), what)


@contextmanager
def _as_usb_error() -> Iterator[None]:
    """Raise what pyusb's users expect of a device; a cable that breaks is none: CableError."""
    try:
        yield
    except DeadlineExpired as error:
        raise usb.core.USBTimeoutError(str(error), errno=errno.ETIMEDOUT) from error
    except DeviceLeft as error:
        raise usb.core.USBError(str(error), errno=errno.ENODEV) from error
    except TransferFailed as error:
        number = _ERRNO.get(error.status, errno.EIO)
        raise usb.core.USBError(str(error), errno=number) from error


def _into(buffer: array[int], data: bytes) -> int:
    """More than was asked for is babble, which the gadget's end has refused already."""
    buffer[: len(data)] = array("B", data)
    return len(data)


def _parsed(data: bytes) -> list[SimpleNamespace]:
    """Descriptors as pyusb wants them; others go to the `extra_descriptors` of the one before.

    One whose length is impossible ends the list, as in libusb (libusb/descriptor.c).
    """
    found: list[SimpleNamespace] = []
    at = 0
    while at + 2 <= len(data) and 2 <= data[at] <= len(data) - at:
        length, kind = data[at], data[at + 1]
        layout, names = _FIELDS.get(kind, ("", ""))
        if names and length >= 2 + struct.calcsize(layout):
            values: dict[str, Any] = dict(
                zip(names.split(), struct.unpack_from(layout, data, at + 2), strict=True)
            )
            own = {"bLength": length, "bDescriptorType": kind, "extra_descriptors": []}
            # Of audio devices only (USB Audio 1.0, table 4-20).
            audio = {"bRefresh": 0, "bSynchAddress": 0} if kind == _ENDPOINT else {}
            found.append(SimpleNamespace(**values, **own, **audio))
        elif found:
            found[-1].extra_descriptors += data[at : at + length]
        at += length
    return found
