"""Brings messages to people: by signed webhook or by command, again and again until they arrive."""

from wherry_controller.notify.courier import Courier

__all__ = ["Courier"]
