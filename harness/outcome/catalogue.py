"""The requirements that the suite judges so far, a sentence each. Ids never change meaning."""

REQUIREMENTS = {
    "EMPTY-1": "virtual disk on, nothing chosen: the host hears that the drive is empty and "
    "boots its next device",
    "EMPTY-4": "the same on a host that jumps without looking for 55AA, and on one that halts "
    "when 55AA is missing",
    "EMPTY-5": "nothing chosen: from the BIOS's keyboard initialisation on until the next device "
    "runs, Ctrl-Alt-Del on the host's own keyboard resets it",
    "EMPTY-6": "nothing chosen, on the wire: the drive is removable, and once UNIT ATTENTION is "
    "drained it answers 02/3A and gives no data",
    "EMPTY-7": "nothing chosen: the drive costs the host at most 1.0 s of its boot, besides waits "
    "that the host brings on itself",
    "SAFE-1": "no LUN is backed by a block device of the device, unless the gate file names it",
    "MEDIA-1": "a gate file with a path: that image is in the drive and boots",
    "LIFE-1": "after a warm reset at any moment the host is never hung and ends where a cold boot "
    "ends",
    "LIFE-3": "a gadget that is bound anew while the host boots never hangs it",
    "LIFE-4": "a device that restarts while the host boots, or is plugged in late: the host boots",
    "INPUT-1": "nothing chosen, /boot/BIOS there: the gadget's keyboard opens the host's boot menu",
    "TOGGLE-3": "gate file deleted by hand: the host boots",
}
