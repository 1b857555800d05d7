"""USB descriptors of the gadget, as far as the rig has to understand them."""

from __future__ import annotations

from dataclasses import dataclass

CONFIGURATION, INTERFACE, ENDPOINT = 2, 4, 5  # bDescriptorType, USB 2.0 table 9-5


@dataclass(frozen=True, slots=True)
class Collision:
    """One endpoint address that several interfaces claim."""

    address: int
    interfaces: tuple[int, ...]

    def __str__(self) -> str:
        """Such as "interfaces 3 and 5 share endpoint 01 OUT"."""
        direction = "IN" if self.address & 0x80 else "OUT"
        names = " and ".join(str(i) for i in self.interfaces)
        return f"interfaces {names} share endpoint {self.address & 0x0F:02X} {direction}"


def collisions(descriptors: bytes) -> tuple[Collision, ...]:
    """Endpoint addresses that occur in more than one interface.

    `descriptors` is what sysfs gives: the device descriptor, then the configurations. An
    address may come again in alternate settings of one interface; in two interfaces of one
    configuration it makes one of them unreachable (USB 2.0, 9.6.6).
    Raises ValueError when a descriptor's length is impossible.
    """
    users: dict[tuple[int, int], set[int]] = {}
    configuration = interface = -1
    at = 0
    while at < len(descriptors):
        length = descriptors[at]
        if length < 2 or at + length > len(descriptors):
            raise ValueError(f"descriptor at {at} says it is {length} bytes long")
        kind = descriptors[at + 1]
        if kind == CONFIGURATION and length >= 9:
            configuration = descriptors[at + 5]
        elif kind == INTERFACE and length >= 9:
            interface = descriptors[at + 2]
        elif kind == ENDPOINT and length >= 7:
            users.setdefault((configuration, descriptors[at + 2]), set()).add(interface)
        at += length
    return tuple(
        Collision(address, tuple(sorted(found)))
        for (_, address), found in sorted(users.items())
        if len(found) > 1
    )
