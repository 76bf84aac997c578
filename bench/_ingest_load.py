"""Load for bench/ingest.py: many devices in one process, each with a connection of its own.

usage: bench/_ingest_load.py FILE RATE WINDOW
FILE (pickle): {"port", "devices": [{"username", "password", "publish", "ack", "payloads"}]}. RATE
is reports per second, 0 for as fast as WINDOW (reports not yet acknowledged by the controller)
lets it. MQTT 3.1.1 by hand, so that the load costs little beside what is measured. Prints one
JSON object: seconds, counts, and the latencies from publish to the controller's acknowledgement,
which follows the commit. With WINDOW 0 nobody waits for acknowledgements (the floor).
"""

import json
import pickle
import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2

SILENCE_S_MAX = 20.0
READ_BYTES = 1 << 16
CONNECT, PUBLISH, PUBACK, SUBSCRIBE = 0x10, 3, 0x40, 0x82


def packet(first: int, body: bytes) -> bytes:
    """One MQTT control packet: first byte, remaining length (§2.2.3), body."""
    length, rest = bytearray(), len(body)
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([first, *length, rest]) + body


def text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def connect(port: int, username: str, password: str) -> socket.socket:
    """A clean session that the broker has accepted."""
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    variable = text("MQTT") + bytes([4, 0xC2]) + struct.pack(">H", 600)
    link.sendall(packet(CONNECT, variable + text(username) + text(username) + text(password)))
    answer = link.recv(4)
    if len(answer) != 4 or answer[3] != 0:
        raise SystemExit(f"the broker refuses {username}: {answer.hex()}")
    return link


@dataclass
class Sender:
    """One device: what it will send, what is not acknowledged yet, and what has come in."""

    link: socket.socket
    topic: str
    payloads: list[bytes]
    acked: int = 0
    taken_by_broker: int = 0
    buffer: bytearray = field(default_factory=bytearray)
    sent_s: list[float] = field(default_factory=list)

    def send(self, now_s: float) -> None:
        number = len(self.sent_s) + 1
        body = text(self.topic) + struct.pack(">H", number) + self.payloads[number - 1]
        self.sent_s.append(now_s)
        self.link.sendall(packet(PUBLISH << 4 | 2, body))

    def take(self, now_s: float) -> list[float]:
        """Read what is there; the latencies of the reports that it acknowledges."""
        self.buffer += self.link.recv(READ_BYTES)
        before = self.acked
        while (whole := self._packet()) is not None:
            if whole[0] >> 4 == PUBLISH:
                self._publication(*whole)
            elif whole[0] == PUBACK:
                self.taken_by_broker += 1
        return [now_s - sent_s for sent_s in self.sent_s[before : self.acked]]

    def _packet(self) -> tuple[int, bytes] | None:
        length = shift = 0
        for place, byte in enumerate(self.buffer[1:5], 2):
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if len(self.buffer) < place + length:
                    return None
                body = bytes(self.buffer[place : place + length])
                first = self.buffer[0]
                del self.buffer[: place + length]
                return first, body
        return None

    def _publication(self, first: int, body: bytes) -> None:
        start = 2 + int.from_bytes(body[:2], "big")
        if first >> 1 & 3:
            self.link.sendall(packet(PUBACK, body[start : start + 2]))
            start += 2
        sealed = cbor2.loads(body[start:])
        self.acked = max(self.acked, cbor2.loads(sealed.value[2])[4])


@dataclass
class Load:
    """All devices, round robin."""

    senders: list[Sender]
    rate: float
    window: int
    latencies_s: list[float] = field(default_factory=list)
    sent: int = 0

    def run(self) -> float:
        """Seconds from the first report to the last acknowledgement."""
        selector = selectors.DefaultSelector()
        for sender in self.senders:
            selector.register(sender.link, selectors.EVENT_READ, sender)
        total = sum(len(sender.payloads) for sender in self.senders)
        began_s = heard_s = time.monotonic()
        while self._done < total:
            self._send_due(began_s, total)
            for key, _ in selector.select(0.001):
                heard_s = time.monotonic()
                self.latencies_s += key.data.take(heard_s)
            if time.monotonic() - heard_s > SILENCE_S_MAX:
                break
        return time.monotonic() - began_s

    @property
    def _done(self) -> int:
        if self.window:
            return len(self.latencies_s)
        return sum(sender.taken_by_broker for sender in self.senders)

    def _send_due(self, began_s: float, total: int) -> None:
        now_s = time.monotonic()
        due = total if not self.rate else int((now_s - began_s) * self.rate) + 1
        if self.window:
            due = min(due, len(self.latencies_s) + self.window)
        for number in range(self.sent, min(due, total, self.sent + 200)):
            self.senders[number % len(self.senders)].send(now_s)
            self.sent += 1


def main() -> None:
    plan: dict[str, Any] = pickle.loads(Path(sys.argv[1]).read_bytes())
    rate, window = float(sys.argv[2]), int(sys.argv[3])
    senders = []
    for device in plan["devices"]:
        link = connect(plan["port"], device["username"], device["password"])
        if window:
            link.sendall(packet(SUBSCRIBE, b"\0\1" + text(device["ack"]) + b"\1"))
        senders.append(Sender(link, device["publish"], device["payloads"]))
    print("ready", flush=True)
    sys.stdin.readline()
    load = Load(senders, rate, window)
    elapsed_s = load.run()
    result = {"elapsed_s": elapsed_s, "sent": load.sent, "acknowledged": len(load.latencies_s)}
    print(json.dumps(result | {"latencies_s": load.latencies_s}), flush=True)
    sys.stdin.readline()  # connections stay until everything was counted


if __name__ == "__main__":
    main()
