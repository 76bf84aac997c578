"""Thousands of light devices in one process, for bench/ingest.py: the agent's real core, each on an
MQTT connection of its own.

A light device has no disk and no engine: its record is not written, and the figures that it
reports are given. Everything else is the agent's own: greeting, time, packing, sealing, holding
and releasing reports. Should a device want its spool, the fleet counts it and drops the segment.
"""

import gc
import os
import random
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from wherry_agent.core import agent as core
from wherry_agent.core.effects import Effect, Publish, SpoolWrite, Subscribe
from wherry_agent.core.inputs import Connected, Input, Moment, Received, Sampled, Ticked
from wherry_agent.core.record import first_record
from wherry_agent.core.state import Identity, Settings
from wherry_protocol.senml import Record

from tests.agent.director import hardware_class
from tests.controller.device import FakeDevice
from tests.system.chaos.mqtt import Kind, Packet, Publication, Splitter, puback, publication, text

SETTINGS = Settings(agent_version="light", abi_min=1, abi_max=1)
READY_S_MAX = 120.0
DRAIN_S_MAX = 30.0
READ_BYTES = 1 << 16
TICK_S = 5.0  # an idle agent looks once a second; so many in one process, less often
NOTHING = b"\xc2\x00\x3c"  # connect flags (login, clean session), keepalive 60 s
Pack = Callable[[FakeDevice], tuple[Record, ...]]


@dataclass
class LightDevice:
    """`sent_s` are the moments at which the reports that are still held were published."""

    enrolled: FakeDevice
    link: socket.socket
    agent: core.Agent
    splitter: Splitter = field(default_factory=Splitter)
    sent_s: deque[float] = field(default_factory=deque)
    latencies_s: list[float] = field(default_factory=list)
    spooled: int = 0
    next_id: int = 1

    def step(self, given: Input) -> None:
        """One step of the core, carried out."""
        before = len(self.agent.reports.held)
        moment = Moment(time.monotonic_ns() // 1000, random.random())
        self.agent, effects = core.step(self.agent, given, moment)
        released = before - len(self.agent.reports.held)
        now_s = time.monotonic()
        for _ in range(min(released, len(self.sent_s))):
            self.latencies_s.append(now_s - self.sent_s.popleft())
        for effect in effects:
            self._do(effect, now_s)

    def _do(self, effect: Effect, now_s: float) -> None:
        if isinstance(effect, Publish):
            if effect.topic.endswith(("/telemetry", "/event")):
                self.sent_s.append(now_s)
            self._send(
                Publication(
                    effect.topic, effect.payload, self._id(), is_retained=effect.is_retained
                ).packet()
            )
        elif isinstance(effect, Subscribe):
            filters = b"".join(text(topic) + b"\1" for topic in effect.topics)
            self._send(Packet(Kind.SUBSCRIBE << 4 | 2, self._id().to_bytes(2, "big") + filters))
        elif isinstance(effect, SpoolWrite):
            self.spooled += 1

    def hear(self) -> None:
        """Take in what the broker has sent."""
        for packet in self.splitter.feed(self.link.recv(READ_BYTES)):
            found = publication(packet)
            if found is not None:
                self.step(Received(found.topic, found.payload))
                if found.packet_id is not None:
                    self._send(puback(found.packet_id))

    def _id(self) -> int:
        self.next_id = self.next_id % 0xFFFF + 1
        return self.next_id

    def _send(self, packet: Packet) -> None:
        self.link.sendall(packet.encoded())


def launch(device: FakeDevice, port: int) -> LightDevice:
    """Boot the agent's core and connect it."""
    assert device.answer is not None
    classes = {device.unit: hardware_class()}
    identity = Identity(device.topics.org, device.name, device.signing, device.keys, classes)
    found = core.Found(
        identity, SETTINGS, first_record(device.answer.roots), {}, (), os.urandom(16),
        os.urandom(16),
    )  # fmt: skip
    agent, _ = core.start(found, Moment(time.monotonic_ns() // 1000, random.random()))
    login = device.answer.broker
    light = LightDevice(device, _connect(port, login.username, login.password), agent)
    light.step(Connected(1))
    return light


def _connect(port: int, username: str, password: str) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    login = text(username) + text(username) + text(password)
    link.sendall(Packet(Kind.CONNECT << 4, text("MQTT") + b"\4" + NOTHING + login).encoded())
    answer = link.recv(4)
    if len(answer) != 4 or answer[3] != 0:
        raise SystemExit(f"the broker refuses {username}: {answer.hex()}")
    return link


@dataclass
class LightFleet:
    """All devices; ticks and reports are spread evenly over their periods."""

    devices: list[LightDevice]
    pack: Pack
    reported: int = 0
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _ticked: int = 0
    _began_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        for device in self.devices:
            self._selector.register(device.link, selectors.EVENT_READ, device)

    def _turn(self) -> None:
        """Hear what has come, and let time pass for every device in its turn."""
        for key, _ in self._selector.select(0.001):
            key.data.hear()
        due = int((time.monotonic() - self._began_s) / TICK_S * len(self.devices))
        for number in range(self._ticked, due):
            self.devices[number % len(self.devices)].step(Ticked())
        self._ticked = due

    def settle(self, limit_s: float) -> bool:
        """Until every device has the time and holds no report, or the limit is over."""
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            self._turn()
            if not any(d.agent.reports.held or d.agent.clock.base_s is None for d in self.devices):
                return True
        return False

    def report(self, per_s: float, duration_s: float) -> None:
        """Every device in turn reports, so many reports in a second together."""
        for device in self.devices:
            device.latencies_s.clear()
        began_s = time.monotonic()
        while (passed_s := time.monotonic() - began_s) < duration_s:
            self._turn()
            for number in range(self.reported, int(passed_s * per_s)):
                device = self.devices[number % len(self.devices)]
                device.step(Sampled(device.enrolled.unit, self.pack(device.enrolled)))
                self.reported += 1


def sail(devices: list[FakeDevice], port: int, processors: set[int], pack: Pack,
         commands: Connection) -> None:  # fmt: skip
    """A process's body: (per_s, duration_s) comes in once, what was measured goes out."""
    os.sched_setaffinity(0, processors)
    fleet = LightFleet([launch(device, port) for device in devices], pack)
    is_ready = fleet.settle(READY_S_MAX)
    gc.collect()
    gc.freeze()  # looking through thousands of agents for cycles takes a second
    commands.send(is_ready)
    per_s, duration_s = commands.recv()
    began_s = time.monotonic()
    fleet.report(per_s, duration_s)
    elapsed_s = time.monotonic() - began_s
    is_settled = fleet.settle(DRAIN_S_MAX)
    found: dict[str, Any] = {
        "reports": fleet.reported,
        "elapsed_s": elapsed_s,
        "is_settled": is_settled,
        "spooled": sum(device.spooled for device in fleet.devices),
        "latencies_s": [one for device in fleet.devices for one in device.latencies_s],
    }
    commands.send(found)
    commands.recv()  # connections stay until everything was counted
