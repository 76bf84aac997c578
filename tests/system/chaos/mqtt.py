"""As much of MQTT 3.1.1 as a proxy needs: whole packets out of a stream, publications read and
made again. Nothing is judged here; what makes no sense as a packet raises ValueError.
"""

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

LENGTH_BYTES_MAX: Final = 4


class Kind(IntEnum):
    """Control packet types (§2.2.1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    UNSUBSCRIBE = 10


@dataclass(frozen=True, slots=True)
class Packet:
    """One control packet: its first byte and what follows the remaining length."""

    first: int
    body: bytes

    @property
    def kind(self) -> int:
        return self.first >> 4

    def encoded(self) -> bytes:
        return bytes([self.first]) + _length(len(self.body)) + self.body


@dataclass(frozen=True, slots=True)
class Publication:
    """A PUBLISH packet's content; `packet_id` is None at QoS 0."""

    topic: str
    payload: bytes
    packet_id: int | None = None
    is_retained: bool = False
    is_duplicate: bool = False

    def packet(self) -> Packet:
        qos = 0 if self.packet_id is None else 1
        first = Kind.PUBLISH << 4 | self.is_duplicate << 3 | qos << 1 | self.is_retained
        number = b"" if self.packet_id is None else struct.pack(">H", self.packet_id)
        return Packet(first, text(self.topic) + number + self.payload)


class Splitter:
    """Bytes go in as they come, whole packets come out."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> list[Packet]:
        """Raises ValueError for a remaining length that is none."""
        self._waiting += data
        found = []
        while (packet := self._next()) is not None:
            found.append(packet)
        return found

    def _next(self) -> Packet | None:
        length = 0
        for place, byte in enumerate(self._waiting[1 : 1 + LENGTH_BYTES_MAX]):
            length |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                start = 2 + place
                if len(self._waiting) < start + length:
                    return None
                packet = Packet(self._waiting[0], bytes(self._waiting[start : start + length]))
                del self._waiting[: start + length]
                return packet
        if len(self._waiting) > LENGTH_BYTES_MAX:
            raise ValueError("the remaining length does not end after four bytes")
        return None


def publication(packet: Packet) -> Publication | None:
    """None where it is another kind of packet."""
    if packet.kind != Kind.PUBLISH:
        return None
    size = int.from_bytes(packet.body[:2], "big")
    topic, rest = packet.body[2 : 2 + size].decode(), packet.body[2 + size :]
    qos = packet.first >> 1 & 3
    number = int.from_bytes(rest[:2], "big") if qos else None
    return Publication(
        topic, rest[2:] if qos else rest, number, bool(packet.first & 1), bool(packet.first & 8)
    )


def client_of(packet: Packet) -> str:
    """The client id of a CONNECT packet (§3.1): protocol name, level, flags, keepalive, id."""
    if packet.kind != Kind.CONNECT:
        raise ValueError(f"the first packet is of kind {packet.kind}, not CONNECT")
    start = 2 + int.from_bytes(packet.body[:2], "big") + 4
    size = int.from_bytes(packet.body[start : start + 2], "big")
    return packet.body[start + 2 : start + 2 + size].decode()


def subscribed(packet: Packet) -> tuple[str, ...]:
    """The topic filters of a SUBSCRIBE packet (§3.8)."""
    place, found = 2, []
    while packet.kind == Kind.SUBSCRIBE and place < len(packet.body):
        size = int.from_bytes(packet.body[place : place + 2], "big")
        found.append(packet.body[place + 2 : place + 2 + size].decode())
        place += 2 + size + 1
    return tuple(found)


def flipped(packet: Packet, bit: int) -> Packet:
    """With one bit of its payload turned; a packet without a payload stays as it is."""
    found = publication(packet)
    if found is None or not found.payload:
        return packet
    payload = bytearray(found.payload)
    place = bit // 8 % len(payload)
    payload[place] ^= 1 << bit % 8
    return replace(found, payload=bytes(payload)).packet()


def puback(packet_id: int) -> Packet:
    return Packet(Kind.PUBACK << 4, struct.pack(">H", packet_id))


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def _length(size: int) -> bytes:
    found = bytearray()
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    found.append(size)
    return bytes(found)
