"""Telling systemd how we are: the notify protocol over a Unix datagram socket.

The watchdog is fed at half its interval, and only while every watched part has shown that it
lives since the last feeding: a thread that hangs stops the feeding, and systemd starts us again.
Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

STATUS_CHARACTERS_MAX: Final = 200


class Notifier:
    """Sends states to the service manager, or nothing where there is none; from any thread."""

    def __init__(self, address: str | None) -> None:
        """`address`: a path, or `@name` for the abstract namespace; None: no service manager."""
        self._address = _socket_address(address) if address else None
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @property
    def is_heard(self) -> bool:
        return self._address is not None

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        self._send(f"STATUS={_line(text)}")

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={_line(status)}")

    def _send(self, text: str) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError:
            return  # a manager that does not listen must not stop the device

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@dataclass(slots=True)
class Watchdog:
    """Feeds the service manager's watchdog while every part lives.

    `parts` are functions that are True if the part has worked since they were last asked.
    """

    notifier: Notifier
    interval_us: int | None  # None: nobody watches
    parts: Mapping[str, Callable[[], bool]]
    fed_us: int | None = field(default=None, init=False)
    alive: set[str] = field(default_factory=set, init=False)  # since the last feeding

    def tick(self, now_us: int) -> tuple[str, ...]:
        """Feeds if it is time and everybody lives. Gives the parts that have not shown it yet."""
        if self.interval_us is None:
            return ()
        if self.fed_us is not None and now_us - self.fed_us < self.interval_us // 2:
            return ()
        silent = [name for name in self.parts if name not in self.alive]
        self.alive.update(name for name in silent if self.parts[name]())
        dead = tuple(name for name in silent if name not in self.alive)
        if not dead:
            self.fed_us = now_us
            self.alive.clear()
            self.notifier.watchdog()
        return dead


def notifier_from(environment: Mapping[str, str]) -> Notifier:
    """The notifier that systemd asks for with NOTIFY_SOCKET."""
    return Notifier(environment.get("NOTIFY_SOCKET"))


def watchdog_us_from(environment: Mapping[str, str], pid: int | None = None) -> int | None:
    """The watchdog's interval, where it is meant for this process (or `pid`)."""
    try:
        interval_us = int(environment["WATCHDOG_USEC"])
        watched = int(environment.get("WATCHDOG_PID", pid or os.getpid()))
    except (KeyError, ValueError):
        return None
    return interval_us if interval_us > 0 and watched == (pid or os.getpid()) else None


def _socket_address(address: str) -> str | None:
    if address.startswith("@"):
        return "\0" + address[1:]
    return address if address.startswith("/") else None  # vsock is for whole machines


def _line(text: str) -> str:
    return " ".join(text.split())[:STATUS_CHARACTERS_MAX]
