"""The fault proxy itself: each fault does what its name says, and nothing without one."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.system.agents import wait_until
from tests.system.chaos import mqtt
from tests.system.chaos.mqtt import Kind, Packet, Publication, Splitter
from tests.system.chaos.proxy import (
    ALL,
    Blackhole,
    Corruption,
    HalfOpen,
    Latency,
    Proxy,
    Rate,
)

HELLO = Packet(
    Kind.CONNECT << 4, mqtt.text("MQTT") + bytes([4, 2, 0, 60]) + mqtt.text("acme/d/gw1")
)
SAID = Publication("a/topic", b"payload", packet_id=7).packet()


@dataclass
class Echo:
    """A server that sends every byte back; `heard` is what came."""

    door: socket.socket
    heard: bytearray = field(default_factory=bytearray)
    ended: int = 0

    def serve(self) -> None:
        while True:
            try:
                one, _ = self.door.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(one,), daemon=True).start()

    def _answer(self, one: socket.socket) -> None:
        with one:
            try:
                while data := one.recv(65536):
                    self.heard += data
                    one.sendall(data)
            except OSError:
                pass
            self.ended += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        made = Echo(door)
        thread = threading.Thread(target=made.serve)
        thread.start()
        yield made
        door.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.door.getsockname()[1], seed=1) as made:
        yield made


@contextmanager
def dialled(proxy: Proxy) -> Iterator[socket.socket]:
    """A client that has said who it is, and heard itself."""
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as one:
        one.sendall(HELLO.encoded())
        assert received(one, len(HELLO.encoded())) == HELLO.encoded()
        yield one


def received(one: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := one.recv(size - len(data))):
        data += more
    return data


def is_silent(one: socket.socket, for_s: float = 0.2) -> bool:
    one.settimeout(for_s)
    try:
        return one.recv(1) == b"nothing"
    except TimeoutError:
        return True
    finally:
        one.settimeout(5)


def test_without_a_fault_every_byte_passes_both_ways_and_the_client_is_known(proxy: Proxy):
    with dialled(proxy) as one:
        assert proxy.names() == {"gw1"}
        one.sendall(SAID.encoded() * 500)
        assert received(one, 500 * len(SAID.encoded())) == SAID.encoded() * 500
    wait_until(lambda: not proxy.passages, "the passage ends with its client")


def test_latency_holds_every_packet_back(proxy: Proxy):
    with dialled(proxy) as one:
        proxy.trouble("gw1", Latency(0.2))
        began_s = time.monotonic()
        one.sendall(SAID.encoded())
        assert received(one, len(SAID.encoded())) == SAID.encoded()
        assert time.monotonic() - began_s >= 0.4


def test_a_rate_is_not_exceeded(proxy: Proxy):
    big = Publication("t", bytes(4000), packet_id=1).packet().encoded()
    with dialled(proxy) as one:
        proxy.trouble(ALL, Rate(20_000))
        began_s = time.monotonic()
        one.sendall(big)
        assert received(one, len(big)) == big
        assert time.monotonic() - began_s >= 0.2


def test_a_cut_ends_both_sides_and_a_shut_door_lets_nobody_in(proxy: Proxy, echo: Echo):
    with dialled(proxy) as one:
        assert proxy.cut("somebody else") == 0
        assert proxy.cut("gw1") == 1
        with pytest.raises(ConnectionError):
            one.recv(1)
    wait_until(lambda: echo.ended == 1, "the server's side ends")
    proxy.is_open = False
    with pytest.raises(ConnectionError):
        knock(proxy)


def knock(proxy: Proxy) -> bytes:
    """The cut may come while the connection is being made, or after it."""
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as one:
        return one.recv(1)


def test_a_blackhole_swallows_without_a_word_and_lets_go_of_it_when_it_is_lifted(
    proxy: Proxy, echo: Echo
):
    with dialled(proxy) as one:
        proxy.trouble("gw1", Blackhole())
        one.sendall(SAID.encoded())
        assert is_silent(one)
        assert bytes(echo.heard) == HELLO.encoded()
        proxy.calm()
        assert received(one, len(SAID.encoded())) == SAID.encoded()


def test_a_half_open_passage_loses_its_server_and_its_client_does_not_hear_of_it(
    proxy: Proxy, echo: Echo
):
    with dialled(proxy) as one:
        proxy.trouble("gw1", HalfOpen())
        one.sendall(SAID.encoded())
        wait_until(lambda: echo.ended == 1, "the server's side ends")
        one.sendall(SAID.encoded())
        assert is_silent(one)
        assert proxy.names() == set()
        proxy.calm()
        with pytest.raises(ConnectionError):
            one.recv(1)


def test_corruption_turns_one_bit_of_a_payload_and_leaves_the_packet_whole(
    proxy: Proxy, echo: Echo
):
    proxy.trouble("gw1", Corruption())
    with dialled(proxy) as one:
        one.sendall(SAID.encoded())
        received(one, len(SAID.encoded()))
    _, heard = Splitter().feed(bytes(echo.heard))
    before, after = mqtt.publication(SAID), mqtt.publication(heard)
    assert before is not None
    assert after is not None
    assert (after.topic, after.packet_id) == (before.topic, before.packet_id)
    turned = [a ^ b for a, b in zip(before.payload, after.payload, strict=True)]
    assert sum(byte.bit_count() for byte in turned) == 1


def test_the_same_seed_turns_the_same_bits():
    def turned(seed: int) -> list[Packet]:
        source = random.Random(seed)
        return [Corruption()._turned(SAID, source) for _ in range(20)]

    assert turned(3) == turned(3)
    assert turned(3) != turned(4)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.integers(1, 9))
def test_packets_come_out_of_a_stream_as_they_went_in_however_it_is_cut(bodies, step):
    packets = [Publication("t/é", body, packet_id=9).packet() for body in bodies]
    stream = b"".join(packet.encoded() for packet in packets)
    splitter, found = Splitter(), []
    for start in range(0, len(stream), step):
        found += splitter.feed(stream[start : start + step])
    assert found == packets
    assert [p.payload for p in map(mqtt.publication, found) if p is not None] == bodies


def test_a_length_without_an_end_is_no_packet():
    with pytest.raises(ValueError, match="does not end"):
        Splitter().feed(b"\x30\xff\xff\xff\xff\x01")
