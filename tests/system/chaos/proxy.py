"""A TCP proxy on loopback that misbehaves as it is told, one composable fault at a time.

    with Proxy(upstream_port, seed=7) as proxy:    # devices dial proxy.port
        proxy.trouble("gw1", Latency(0.2), Rate(4096))
        proxy.cut("gw2")
        proxy.calm()

Rules:
1. A passage is known by the last part of its MQTT client id (`gw1`, or `wherry-acme-controller`);
   ALL means every one. Faults are set per name and hold for later passages of that name too.
2. Packets are forwarded whole, so that a fault may begin at any time. Faults are carried out in
   their order, per direction. What a blackhole held back goes on when it is lifted, as TCP would
   send it again; a half-open passage is never whole again.
3. Every choice (which bit) comes from the seed.
"""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.system.chaos import mqtt

ALL: Final = "*"
READ_BYTES: Final = 1 << 16
TICK_S: Final = 0.02
UP, DOWN = "up", "down"  # from the client, to the client


@dataclass(slots=True)
class Passage:
    """One connection through the proxy."""

    name: str
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    proxy: "Proxy"
    is_half_open: bool = False

    def faults(self) -> tuple["Fault", ...]:
        return self.proxy.faults_of(self.name)

    def abort(self) -> None:
        for writer in (self.client, self.server):
            reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """End it as a cut does, with a reset instead of a farewell."""
    if not writer.transport.is_closing():
        door = writer.get_extra_info("socket")
        door.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Fault:
    """Something that happens to the bytes of a passage, in one direction at a time."""

    async def carry(self, data: bytes, passage: Passage, way: str) -> bytes:  # noqa: ARG002
        return data


@dataclass(frozen=True)
class Latency(Fault):
    """Every read waits that long, and up to `jitter_s` more."""

    wait_s: float
    jitter_s: float = 0.0

    async def carry(self, data: bytes, passage: Passage, way: str) -> bytes:  # noqa: ARG002
        await asyncio.sleep(self.wait_s + self.jitter_s * passage.proxy.random.random())
        return data


@dataclass(frozen=True)
class Rate(Fault):
    """So many bytes per second in each direction."""

    bytes_per_s: float

    async def carry(self, data: bytes, passage: Passage, way: str) -> bytes:
        writer = passage.server if way == UP else passage.client
        step = max(1, int(self.bytes_per_s / 10))
        for start in range(0, len(data) - step, step):
            writer.write(data[start : start + step])
            await asyncio.sleep(step / self.bytes_per_s)
        last = (len(data) - 1) // step * step if data else 0
        await asyncio.sleep((len(data) - last) / self.bytes_per_s)
        return data[last:]


@dataclass(frozen=True)
class Blackhole(Fault):
    """Nothing arrives and nobody is told, as long as the fault is set."""

    async def carry(self, data: bytes, passage: Passage, way: str) -> bytes:  # noqa: ARG002
        while self in passage.faults():
            await asyncio.sleep(TICK_S)
        return data


@dataclass(frozen=True)
class HalfOpen(Fault):
    """The broker's side is gone; the client's stays open, takes what comes and answers nothing."""

    async def carry(self, data: bytes, passage: Passage, way: str) -> bytes:  # noqa: ARG002
        if not passage.is_half_open:
            passage.is_half_open = True
            reset(passage.server)
        return b""


@dataclass(frozen=True)
class Corruption(Fault):
    """One bit of every `every`th publication's payload is turned (`is_raw`: of any byte)."""

    every: int = 1
    is_raw: bool = False

    async def carry(self, data: bytes, passage: Passage, way: str) -> bytes:  # noqa: ARG002
        random = passage.proxy.random
        if self.is_raw:
            place, bit = random.randrange(len(data)), random.randrange(8)
            return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        packets = mqtt.Splitter().feed(data)
        return b"".join(self._turned(packet, random).encoded() for packet in packets)

    def _turned(self, packet: mqtt.Packet, random: Random) -> mqtt.Packet:
        if random.randrange(self.every):
            return packet
        return mqtt.flipped(packet, random.getrandbits(20))


class Proxy:
    """Runs in a thread of its own; every method may be called from any thread."""

    def __init__(self, upstream_port: int, *, seed: int = 0, port: int = 0) -> None:
        self.upstream_port = upstream_port
        self.random = Random(seed)
        self.port = port
        self.is_open = True  # while false, new connections are cut at once
        self.passages: list[Passage] = []
        self.accepted: dict[str, int] = {}  # name -> how many passages it has had
        self.accepted_s: dict[str, float] = {}  # name -> when the last one came, monotonic
        self._faults: dict[str, tuple[Fault, ...]] = {}

    # --- from outside

    def __enter__(self) -> "Proxy":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy")
        self._thread.start()
        self._wait(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def trouble(self, name: str, *faults: Fault) -> None:
        """These and no others, for all passages of that name."""
        self._faults[name] = faults

    def faults_of(self, name: str) -> tuple[Fault, ...]:
        return (*self._faults.get(ALL, ()), *self._faults.get(name, ()))

    def cut(self, name: str = ALL) -> int:
        """Reset the passages of that name; how many there were."""
        return int(self._call(lambda: self._cut(name)))

    def calm(self) -> None:
        """No fault any more. A half-open passage cannot come back, so it is cut."""
        self._faults.clear()
        self.is_open = True
        self._call(self._cut_half_open)

    def stop_listening(self) -> None:
        """Nobody is there any more: connections are refused by the system."""
        self._call(self._server.close)

    def listen_again(self) -> None:
        self._wait(self._open())

    def to_client(self, name: str, data: bytes) -> None:
        """Bytes of our own to every client of that name, as if its server had sent them.

        Returns once the client's system has taken them, or the client has gone.
        """
        self._wait(self._to_client(name, data))

    async def _to_client(self, name: str, data: bytes) -> None:
        for one in self.passages:
            if one.name == name:
                with contextlib.suppress(OSError):
                    one.client.write(data)
                    await one.client.drain()

    def names(self) -> set[str]:
        """Who has a passage that is whole."""
        return {one.name for one in list(self.passages) if not one.is_half_open}

    def _call(self, act: Callable[[], Any]) -> Any:
        async def called() -> Any:
            return act()

        return self._wait(called())

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    # --- in the loop

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        self._server.close()
        self._cut(ALL)
        mine = asyncio.current_task()
        rest = [task for task in asyncio.all_tasks() if task is not mine]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _cut(self, name: str) -> int:
        gone = [one for one in self.passages if name in (ALL, one.name)]
        for one in gone:
            one.abort()
        return len(gone)

    def _cut_half_open(self) -> None:
        for one in self.passages:
            if one.is_half_open:
                one.abort()

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            if not self.is_open:
                raise ConnectionResetError("the door is shut")
            first, name = await self._greeting(reader)
            upstream, server = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except (OSError, ValueError, asyncio.IncompleteReadError):
            reset(client)
            return
        await self._carry(Passage(name, client, server, self), first, reader, upstream)

    async def _greeting(self, reader: asyncio.StreamReader) -> tuple[bytes, str]:
        """What has come, and the name in it."""
        splitter, data = mqtt.Splitter(), b""
        while True:
            more = await reader.read(READ_BYTES)
            if not more:
                raise ConnectionResetError("it went before it said who it is")
            data += more
            packets = splitter.feed(more)
            if packets:
                return data, mqtt.client_of(packets[0]).rpartition("/")[2]

    async def _carry(
        self,
        passage: Passage,
        first: bytes,
        reader: asyncio.StreamReader,
        upstream: asyncio.StreamReader,
    ) -> None:
        self.passages.append(passage)
        self.accepted[passage.name] = self.accepted.get(passage.name, 0) + 1
        self.accepted_s[passage.name] = time.monotonic()
        ways = [
            asyncio.ensure_future(self._pump(passage, UP, reader, passage.server, first)),
            asyncio.ensure_future(self._pump(passage, DOWN, upstream, passage.client)),
        ]
        try:
            # One side's end is the other's, unless the fault is that it does not hear of it.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if passage.is_half_open:
                await ways[0]
        finally:
            self.passages.remove(passage)
            for way in ways:
                way.cancel()
            passage.abort()

    async def _pump(
        self,
        passage: Passage,
        way: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        first: bytes = b"",
    ) -> None:
        splitter, data = mqtt.Splitter(), first
        with contextlib.suppress(OSError, ValueError):  # gone, or no MQTT any more
            while data or (data := await reader.read(READ_BYTES)):
                whole = b"".join(packet.encoded() for packet in splitter.feed(data))
                data = await self._through_faults(whole, passage, way)
                if data and not passage.is_half_open:
                    writer.write(data)
                    await writer.drain()
                data = b""

    async def _through_faults(self, data: bytes, passage: Passage, way: str) -> bytes:
        for fault in passage.faults():
            if not data:
                return b""
            data = await fault.carry(data, passage, way)
        return data
