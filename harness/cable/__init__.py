"""The USB link between gadget and host: usbredir, the relay with its taps, the capture."""
