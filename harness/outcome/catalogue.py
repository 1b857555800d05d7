"""The requirements that the suite judges so far, a sentence each. Ids never change meaning."""

REQUIREMENTS = {
    "EMPTY-1": "virtual disk on, nothing chosen: the host hears that the drive is empty and "
    "boots its next device",
    "EMPTY-2": "the same after an image was mounted and unmounted through the device's own server, "
    "on a cold and on a warm boot",
    "EMPTY-3": "the same after the virtual disk was switched on through the server",
    "EMPTY-4": "the same on a host that jumps without looking for 55AA, and on one that halts "
    "when 55AA is missing",
    "EMPTY-5": "nothing chosen: from the BIOS's keyboard initialisation on until the next device "
    "runs, Ctrl-Alt-Del on the host's own keyboard resets it",
    "EMPTY-6": "nothing chosen, on the wire: the drive is removable, and once UNIT ATTENTION is "
    "drained it answers 02/3A and gives no data",
    "EMPTY-7": "nothing chosen: the drive costs the host at most 1.0 s of its boot, besides waits "
    "that the host brings on itself",
    "EMPTY-8": "nothing chosen: asked what is mounted, the device says nothing",
    "SAFE-1": "no LUN is backed by a block device of the device, unless the gate file names it",
    "SAFE-2": "nothing chosen: nobody who reads and writes the drive by every means gets or "
    "changes a byte of the data partition",
    "SAFE-3": "a read-only medium and a CD-ROM cannot be changed by the host",
    "SAFE-4": "a request for a medium that cannot be gets an error and leaves the drive as it was",
    "MEDIA-1": "a gate file with a path: that image is in the drive and boots",
    "MEDIA-2": "an ISO image, mounted as a CD-ROM, boots",
    "MEDIA-3": "a disk image boots through its master boot record",
    "MEDIA-4": "a hybrid ISO image boots as a CD-ROM and as a disk",
    "MEDIA-5": "after a change of medium the host boots the new one",
    "MEDIA-6": "boot media that people use boot: a memory tester, a network boot, a rescue disc "
    "and an installer",
    "MEDIA-7": "unmounting a medium that the host holds works or is refused, and the state of the "
    "drive is told truthfully after",
    "LIFE-1": "after a warm reset at any moment the host is never hung and ends where a cold boot "
    "ends",
    "LIFE-2": "mounting or unmounting while the host boots never hangs it",
    "LIFE-3": "a gadget that is bound anew while the host boots never hangs it",
    "LIFE-4": "a device that restarts while the host boots, or is plugged in late: the host boots",
    "INPUT-1": "nothing chosen, /boot/BIOS there: the gadget's keyboard opens the host's boot menu",
    "TOGGLE-1": "virtual disk switched off: the drive is gone, all else stays, the host boots",
    "TOGGLE-2": "virtual disk switched on and off fifty times: no leftovers, the last state is the "
    "one that was asked for",
    "TOGGLE-3": "gate file deleted by hand: the host boots",
}
