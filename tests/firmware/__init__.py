"""The microcontroller's firmware, driven through its real serial line."""
