"""The PC that must boot: QEMU with a chosen BIOS and USB controller."""
