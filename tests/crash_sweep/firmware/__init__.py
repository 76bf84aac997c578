"""The firmware's subject: its core in this process, on a board whose flash stops at any step."""

from tests.crash_sweep.firmware.subject import FIRMWARE

__all__ = ["FIRMWARE"]
