"""Asks the drive itself, without a PC: by Bulk-Only Transport, on any backend of pyusb."""
