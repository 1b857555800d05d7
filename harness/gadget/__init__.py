"""The device under test, as the cable sees it: the gadget's virtual machine."""
