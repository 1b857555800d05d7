"""What gets booted, and how it is made: payloads, media, the gadget VM. Nothing needs root.

Everything made is kept in the cache under a key that covers all that went into it.
"""
