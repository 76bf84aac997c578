"""A part of a very large fleet: virtual time, a broker without memory of anybody, and keys.

Devices never meet, so that each part of them has a world of its own, made of the same seed. What
happens to a device depends on nothing but the device: its chance has its own sequence, and its
events keep their order whoever else is there.

An event is one entry of the queue that was taken out and done: a message that arrives at a device
or at the controller (the broker is on the way and no event of its own), a device's alarm, a job of
its worker, its telemetry, a tick of the controller.
"""

import heapq
from array import array
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any

from wherry_agent.core.record import AgentRecord, ModelRecord, Slot, UnitRecord, first_record
from wherry_agent.core.state import Settings
from wherry_agent.telemetry.counters import Counters
from wherry_agent.telemetry.energy import Unavailable
from wherry_agent.telemetry.pack import Pack, Performance, performance_pack, unit_base
from wherry_protocol.blobs import chunk_count, chunk_of, seal_chunk
from wherry_protocol.keys import AgreementKey, SigningKey
from wherry_protocol.messages.observed import Telemetry
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.replacing import replace
from wherry_protocol.topics import Topics

from tests.agent.director import HARDWARE, ORG, hardware_class
from tests.simulation.authority import Authority
from tests.simulation.engine import RATE_PER_S, UNIT, latencies
from tests.simulation.lean.device import LeanDevice, name_of
from tests.simulation.lean.front import Front
from tests.simulation.models import GOOD, MODEL, Behaviour, Made, make_model
from tests.simulation.network import SECOND_US
from tests.simulation.twins.codec import Opaque

START_S = 1_800_000_000
LATENCY_US = (2_000, 40_000)
NO_SENSOR = Unavailable("no sensor")
CHANCE_TIMES = 6364136223846793005  # Knuth's MMIX generator
CHANCE_ADD = 1442695040888963407
CHANCE_MASK = (1 << 64) - 1
SPAN_US = SECOND_US // 10  # in which no part of a fleet depends on another
BOOT_US = 10 * SECOND_US  # within which a device is there after the first message for it
TWINS = (
    "clock", "network", "broker", "disk", "threads", "engine", "signatures", "codec", "store",
    "the agent's shell", "the controller's service", "one set of keys for all devices",
)  # fmt: skip


class Violation(Exception):  # noqa: N818  (a finding, not an error of the program)
    """Something that must hold does not."""


class LeanWorld:
    """Version 1 is what every device has confirmed before; version 2 is what is rolled out.
    Devices are numbers below `device_count`; this is the world of some of them."""

    def __init__(self, device_count: int, behaviour: Behaviour, performance_s: int) -> None:
        self.random = Random(f"lean {device_count}")
        self.chance = array("Q", [(n << 32) + device_count for n in range(device_count)])
        self.org, self.topics = ORG, Topics(ORG)
        self.now_us = self.events = self._count = 0
        self.is_listening = False  # to every message
        self.said = 0  # of all that was heard, in whatever order
        self.performance_s = performance_s
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.authority = Authority(self.random, START_S, ORG)
        self.device_key = SigningKey.from_seed(self.random.randbytes(32))
        ours = AgreementKey.from_seed(self.random.randbytes(32))
        theirs = AgreementKey.from_seed(self.random.randbytes(32))
        self.connection_keys = theirs.agree(ours.public, ORG, "everybody")
        self.classes = {UNIT: hardware_class()}
        self.settings = Settings(agent_version="lean", abi_min=1, abi_max=1)
        keys = self.authority.release_keys[:1]
        self.versions = [
            make_model("1.0.0", 1, keys, GOOD), make_model("1.1.0", 2, keys, behaviour),
        ]  # fmt: skip
        self.made: dict[bytes, Made] = {one.digest: one for one in self.versions}
        self.contents: dict[bytes, bytes] = {}
        self.content_keys: dict[bytes, bytes] = {}
        self.retained: dict[str, bytes] = {}  # chunks, desired documents
        for made in self.versions:
            self._publish_chunks({made.digest: made.bundle.manifest_bytes, **made.bundle.blobs})
        self.devices: dict[int, LeanDevice] = {}
        self.front = Front(self)
        self.first_record = self._first_record()

    def _publish_chunks(self, blobs: dict[bytes, bytes]) -> None:
        for digest, data in blobs.items():
            key = self.content_keys[digest] = self.random.randbytes(32)
            self.contents[digest] = data
            count = chunk_count(len(data))
            for index in range(count):
                segment = seal_chunk(key, digest, index, count, chunk_of(data, index))
                self.retained[self.topics.chunk(digest, index)] = segment

    def _first_record(self) -> AgentRecord:
        slot = Slot(manifest_digest=self.versions[0].digest, version="1.0.0", good_inferences=1000)
        model = ModelRecord(model=MODEL, active=slot, outcome=Outcome.CONFIRMED)
        unit = UnitRecord(unit=UNIT, models=(model,))
        record = first_record(tuple(self.authority.roots))
        return replace(record, boot_count=1, units=(unit,))

    def behaviour_of(self, digest: bytes) -> Behaviour:
        return self.made[digest].behaviour

    def pack(self, name: str, digest: bytes, interval_us: int) -> Pack:
        """The telemetry of what a device served for so long."""
        behaviour, version = self.behaviour_of(digest), self.made[digest].manifest.version
        count = interval_us * RATE_PER_S // SECOND_US
        errors = int(count * behaviour.error_rate)
        done = Counters(inferences=count, errors=errors, errors_engine=errors,
                        latency=latencies(count, behaviour.latency_us))  # fmt: skip
        seen = Performance(MODEL, version, "active", digest, interval_us / 1e6, done, NO_SENSOR)
        return performance_pack(unit_base(self.org, name, UNIT), seen)

    @property
    def now_s(self) -> float:
        return START_S + self.now_us / SECOND_US

    def broken(self, what: str) -> None:
        raise Violation(what)

    # --- events

    def at(self, delay_us: int, act: Callable[..., None], *given: Any) -> None:
        """Let it happen after `delay_us`."""
        self._count += 1
        heapq.heappush(self._queue, (self.now_us + delay_us, self._count, act, given))

    def run_until(self, until_us: int) -> None:
        """Everything that happens before."""
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] < until_us:
            self.now_us, _, act, given = pop(queue)
            self.events += 1
            act(*given)
        self.now_us = until_us

    def draw(self, number: int, low: int, high: int) -> int:
        """The device's next chance, from `low` to `high`."""
        state = self.chance[number] = (
            self.chance[number] * CHANCE_TIMES + CHANCE_ADD
        ) & CHANCE_MASK
        return low + (state >> 33) % (high - low + 1)

    # --- the broker

    def to_controller(self, device: LeanDevice, topic: str, payload: bytes) -> None:
        self.note(device.number, topic, payload)
        self.at(self.draw(device.number, *LATENCY_US), self.front.hear, device, topic, payload)

    def to_device(self, number: int, topic: str, payload: bytes) -> None:
        """To whoever is there; a device that is not comes up, and will ask for what is retained."""
        device = self.devices.get(number)
        if device is None:
            self.at(self.draw(number, 0, BOOT_US), self.boot, number)
        else:
            self.note(number, topic, payload)
            self.at(self.draw(number, *LATENCY_US), device.hear, topic, payload)

    def to_subscriber(self, device: LeanDevice, topic: str) -> None:
        payload = self.retained.get(topic)
        if payload is not None:
            self.note(device.number, topic, payload)
            self.at(self.draw(device.number, *LATENCY_US), device.hear, topic, payload)

    def note(self, number: int, topic: str, payload: bytes, now_us: int | None = None) -> None:
        """A message is on its way, from or to the device."""
        if self.is_listening:
            said = said_in(payload.carried.message) if type(payload) is Opaque else payload
            self.heed(self.now_us if now_us is None else now_us, number, repr((topic, said)))

    def heed(self, now_us: int, number: int, text: str) -> None:
        self.said += digest_of(f"{now_us} {number} {text}")

    def boot(self, number: int) -> None:
        if number not in self.devices:
            self.devices[number] = LeanDevice(self, number, self.first_record)

    # --- what is looked at in the end

    def problems(self) -> list[str]:
        """Where the rollout has succeeded, what each device must serve, have recorded and be."""
        return [
            f"{device.name} does not serve the new version, or has not recorded that it confirmed"
            for device in self.devices.values()
            if not device.has_confirmed(self.versions[1].digest)
        ]

    def digest(self) -> int:
        """Of all devices as they are; that of two parts is the sum of theirs."""
        return sum(digest_of(repr(device.portrait())) for device in self.devices.values())


def digest_of(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")


def said_in(message: Any) -> Any:
    """A message as it is compared: a telemetry pack is told by what it was made of."""
    if not isinstance(message, Telemetry):
        return message
    pack: Any = message.pack
    is_real = isinstance(pack, tuple)
    made_of = (pack[0].string, pack[1].value) if is_real else (pack.digest.hex(), pack.interval_s)
    return replace(message, pack=()), made_of


__all__ = ["HARDWARE", "TWINS", "LeanWorld", "Violation", "name_of"]
