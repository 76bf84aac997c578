"""A fleet comes back after a long time away: original times, bounded spools, and no stampede.

A thousand real agent cores in virtual time. The broker is a list of who arrived when; the
controller acknowledges, signed, half a second after a report came.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_agent.core import agent as core
from wherry_agent.core import reconnect
from wherry_agent.core.agent import Found
from wherry_agent.core.effects import Effect, Publish, SpoolDrop, SpoolRead, SpoolWrite
from wherry_agent.core.inputs import (
    Connected,
    Input,
    Moment,
    Received,
    Sampled,
    SegmentRead,
    Ticked,
)
from wherry_agent.core.record import first_record
from wherry_agent.core.state import Agent
from wherry_controller.core.spool import START, Position, accept
from wherry_protocol.messages.observed import Event, Origin, Telemetry
from wherry_protocol.sealed import open_mac
from wherry_protocol.senml import Record

from tests.agent.director import Device, Director
from tests.agent.harbour import SETTINGS

FLEET = 1000
AWAY_S = 1800.0
REPORT_S = 180.0
LOW_S, HIGH_S = 1.0, 120.0  # the shipped configuration's
ACK_S = 0.5
SECOND_US = 1_000_000
PACK = (Record(name="cpu", unit="/", value=0.5),)

# --- when to try again


@given(st.integers(0, 10_000), st.floats(0.05, 600.0), st.floats(0.0, 0.999999))
def test_a_wait_is_never_shorter_than_the_least_nor_longer_than_the_most(attempt, low_s, chance):
    high_s = low_s * 50
    assert low_s <= reconnect.wait_s(attempt, low_s, high_s, chance) <= high_s


def test_waits_grow_and_stop_growing():
    spans = [reconnect.wait_s(n, 1.0, 120.0, 0.999) for n in range(8)]
    assert spans == sorted(spans)
    assert spans[0] < 4.0 < 100.0 < spans[-1]
    assert reconnect.wait_s(10**9, 1.0, 120.0, 0.999) == spans[-1]


def test_attempts_are_forgotten_only_once_a_connection_has_lasted():
    assert reconnect.attempts_after(7, reconnect.STABLE_S) == 0
    assert reconnect.attempts_after(7, 0.1) == 7


# --- a thousand come back


@dataclass
class Light:
    """One device: its core, a spool in memory, and what its link decides."""

    ashore: Device
    agent: Agent
    random: Callable[[], float]
    attempts: int = 0
    spool: dict[str, bytes] = field(default_factory=dict)
    made_us: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Arrival:
    """One report at the broker."""

    at_s: float
    light: Light
    origin: Origin


def origin_of(light: Light, said: Publish) -> Origin:
    kind = Event if said.topic.endswith("/event") else Telemetry
    return open_mac(kind, said.payload, light.ashore.keys.mac_key).origin


@dataclass
class Sea:
    """Virtual time, and what arrives at the broker."""

    director: Director
    now_s: float = 0.0
    due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    connected_s: list[float] = field(default_factory=list)
    arrived: list["Arrival"] = field(default_factory=list)
    positions: dict[str, Position] = field(default_factory=dict)
    spooled_bytes_max: int = 0
    count: int = 0

    def at(self, at_s: float, act: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.due, (at_s, self.count, act))

    def run(self, until_s: float) -> None:
        while self.due and self.due[0][0] <= until_s:
            self.now_s, _, act = heapq.heappop(self.due)
            act()

    def give(self, light: Light, given: Input) -> None:
        moment = Moment(int(self.now_s * SECOND_US), light.random())
        light.agent, effects = core.step(light.agent, given, moment)
        for effect in effects:
            self.carry_out(light, effect)

    def carry_out(self, light: Light, effect: Effect) -> None:
        if isinstance(effect, SpoolWrite):
            light.spool[effect.name] = effect.data
            size = sum(map(len, light.spool.values()))
            self.spooled_bytes_max = max(self.spooled_bytes_max, size)
        elif isinstance(effect, SpoolDrop):
            light.spool.pop(effect.name, None)
        elif isinstance(effect, SpoolRead):
            self.give(light, SegmentRead(effect.name, light.spool.get(effect.name)))
        elif isinstance(effect, Publish) and effect.topic.endswith(("/telemetry", "/event")):
            origin = origin_of(light, effect)
            self.arrived.append(Arrival(self.now_s, light, origin))
            self.at(self.now_s + ACK_S, lambda: self.acknowledge(light, origin))

    def acknowledge(self, light: Light, origin: Origin) -> None:
        """By the controller's own rules."""
        name = light.ashore.name
        position, _ = accept(self.positions.get(name, START), origin.sequence, origin.oldest)
        self.positions[name] = position
        ack = self.director.ack(light.ashore, origin.boot_id, position.contiguous)
        self.give(light, Received(self.director.topics.ack(name), ack))

    def sample(self, light: Light) -> None:
        light.made_us.append(int(self.now_s * SECOND_US))
        self.give(light, Ticked())
        self.give(light, Sampled("self", PACK))
        self.at(self.now_s + REPORT_S, lambda: self.sample(light))

    def try_again(self, light: Light) -> None:
        if self.now_s >= AWAY_S:
            self.connected_s.append(self.now_s)
            self.give(light, Connected(1))
            return
        wait_s = reconnect.wait_s(light.attempts, LOW_S, HIGH_S, light.random())
        light.attempts += 1
        self.at(self.now_s + wait_s, lambda: self.try_again(light))


def away(count: int, chance: Callable[[int], Callable[[], float]], **settings: Any) -> Sea:
    """`count` devices without a broker from the start; `chance` makes a device's own."""
    director = Director()
    sea = Sea(director)
    for number in range(count):
        ashore = director.enrol_in_memory(f"gw{number}")
        assert ashore.identity is not None
        found = Found(
            identity=ashore.identity,
            settings=replace(SETTINGS, report_hold_us=300 * SECOND_US, **settings),
            record=first_record(tuple(director.roots)),
            manifests={},
            segments=(),
            boot_id=number.to_bytes(16, "big"),
            nonce=bytes(16),
        )
        agent, _ = core.start(found, Moment(0, 0.5))
        light = Light(ashore, agent, chance(number))
        sea.at(REPORT_S * number / count, lambda light=light: sea.sample(light))
        sea.at(0.0, lambda light=light: sea.try_again(light))
    return sea


def by_chance(number: int) -> Callable[[], float]:
    return random.Random(number).random


def in_step(number: int) -> Callable[[], float]:  # noqa: ARG001
    return lambda: 0.5


def most_in_a_second(moments: list[float]) -> int:
    return max(Counter(int(at_s) for at_s in moments).values())


@pytest.fixture(scope="module")
def thousand() -> Sea:
    sea = away(FLEET, by_chance)
    sea.run(AWAY_S + 2 * HIGH_S)
    return sea


def test_a_thousand_devices_that_come_back_at_once_do_not_stampede(thousand: Sea):
    """Evenly over the longest wait would be 8.4 connections per second, and 84 reports."""
    assert len(thousand.connected_s) == FLEET
    assert max(thousand.connected_s) <= AWAY_S + HIGH_S
    assert most_in_a_second(thousand.connected_s) <= 30
    assert most_in_a_second([one.at_s for one in thousand.arrived]) <= 300


def test_what_was_measured_while_away_arrives_whole_with_its_original_times(thousand: Sea):
    came: dict[str, set[int]] = {}
    for one in thousand.arrived:
        came.setdefault(one.light.ashore.name, set()).add(one.origin.monotonic_us)
    lights = {one.light.ashore.name: one.light for one in thousand.arrived}
    assert len(lights) == FLEET
    for name, light in lights.items():
        while_away = [at_us for at_us in light.made_us if at_us < AWAY_S * SECOND_US]
        assert len(while_away) >= 9
        assert came[name] >= set(while_away)
    assert not [light for light in lights.values() if light.spool], "released once it is there"


def test_without_chance_they_would_all_come_in_the_same_second():
    """The curve above is the jitter's doing, and this test would see it go."""
    sea = away(50, in_step)
    sea.run(AWAY_S + 2 * HIGH_S)
    assert most_in_a_second(sea.connected_s) == 50


def test_a_long_absence_keeps_the_newest_within_the_byte_limit_and_counts_the_rest():
    limit = 2_000
    sea = away(1, by_chance, spool_bytes_max=limit)
    sea.run(AWAY_S + 2 * HIGH_S)
    [light] = {id(one.light): one.light for one in sea.arrived}.values()
    assert limit // 2 < sea.spooled_bytes_max <= limit + 1_000, "one segment is written first"
    came = {one.origin.monotonic_us for one in sea.arrived}
    made = [at_us for at_us in light.made_us if at_us < AWAY_S * SECOND_US]
    lost = [at_us for at_us in made if at_us not in came]
    assert lost
    assert lost == made[: len(lost)], "the oldest are the ones that went"
    events = 1  # the agent's own "started" was in the first segment
    assert light.agent.reports.dropped_count == len(lost) + events
