"""Bootgate's instrument: gadget, cable and host put together, and what came out of it.

The rooms and the order in which they may import one another are listed in README.md,
"How the rig works". A room imports only rooms that stand above it there.
"""

__version__ = "0.1.0"
