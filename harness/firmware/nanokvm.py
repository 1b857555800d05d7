"""Where NanoKVM keeps things: facts of its firmware's layout, read from its public sources."""

INIT_SCRIPT_IN_TREE = "system/init.d/S03usbdev"
"""The script that builds the gadget, within the folder that is /kvmapp on the device."""

TREE = "/kvmapp"
"""Where that folder is on the device."""

INIT_SCRIPT = "/etc/init.d/S03usbdev"
"""Where the script runs: at boot the device copies /kvmapp/system/init.d/* to /etc/init.d."""

BOOT = "/boot"
"""The vfat partition with the gate files."""

GATE = "usb.disk0"
"""The gate file in BOOT that switches the virtual disk on and says what is in it."""

GADGET = "/sys/kernel/config/usb_gadget/g0"
"""The gadget's folder in configfs."""

DATA_PARTITION = "/dev/mmcblk0p3"
"""The device's own data (exFAT, mounted on /data): never a host's business."""

SERVER_IN_TREE = "server/NanoKVM-Server"
"""The device's own server, within the folder that is /kvmapp; its init script S95nanokvm starts
it from there."""
