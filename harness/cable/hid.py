"""What a HID interface is: keyboard, mouse or other.

Sources: Device Class Definition for HID 1.11 (HID), HID Usage Tables.
"""

from __future__ import annotations

_SIZES = (0, 1, 2, 4)
"""Bytes of a short item's data, by the lowest two bits of its first byte (HID 6.2.2.2)."""

_LONG_ITEM = 0xFE
_USAGE_PAGE, _USAGE, _COLLECTION = 0x04, 0x08, 0xA0
"""First bytes of items without the two bits of the size (HID 6.2.2.4, 6.2.2.7, 6.2.2.8)."""


def usage(report_descriptor: bytes) -> int:
    """Usage page (upper 16 bits) and usage of the first collection: what the interface is.

    0 when there is no collection: it is no report descriptor, or was cut short.
    """
    page = own = at = 0
    while at < len(report_descriptor):
        first = report_descriptor[at]
        if first == _LONG_ITEM:  # one byte of size, one of tag, the data (HID 6.2.2.3)
            at += 3 + sum(report_descriptor[at + 1 : at + 2])
            continue
        size = _SIZES[first & 3]
        value = int.from_bytes(report_descriptor[at + 1 : at + 1 + size], "little")
        kind = first & ~3
        if kind == _USAGE_PAGE:
            page = value
        elif kind == _USAGE:  # with four bytes it brings its own page along
            own = value if size == 4 else page << 16 | value
        elif kind == _COLLECTION:
            return own
        at += 1 + size
    return 0
