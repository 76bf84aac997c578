"""The world of one seed: virtual time, one queue of events, and everything that lives in it.

Rules:
1. Nothing happens but events; two at the same moment happen in the order in which they came.
2. Each part draws from a stream of its own (`stream`), so that a fault that is left out changes
   nothing but its consequences.
3. After every event the invariants of whoever acted are checked; the first that does not hold
   ends the run (`Violation`).
"""

import gc
import heapq
import logging
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry_agent.core.effects import Effect
from wherry_agent.core.record import AgentRecord
from wherry_agent.core.state import Identity
from wherry_controller.fleet import enrolment
from wherry_controller.settings import BrokerSettings
from wherry_protocol.keys import AgreementKey, SigningKey
from wherry_protocol.messages.enrolment import EnrolRequest, UnitRequest
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import seal

from tests.agent.director import HARDWARE, ORG, hardware_class
from tests.simulation import invariants
from tests.simulation.authority import Authority
from tests.simulation.broker import SAVE_US, Broker
from tests.simulation.controller import SimController
from tests.simulation.device import SimDevice
from tests.simulation.engine import UNIT
from tests.simulation.invariants import Violation
from tests.simulation.models import Behaviour, Made, make_model
from tests.simulation.network import CALM, SECOND_US, WEATHERS, Weather
from tests.simulation.trace import Trace
from tests.simulation.truth import Truth

START_S = 1_800_000_000
ALWAYS_TWINS = ("clock", "network", "broker", "disk", "threads", "engine")
LOOK_US = 10 * SECOND_US
OBJECTS_PER_LOOK = 50_000  # made and not freed, before garbage is looked for


@dataclass(frozen=True, order=True)
class Disturbance:
    """Something that somebody or something does at a moment; `seed` decides its details."""

    at_us: int
    name: str
    seed: int


@dataclass
class World:
    """`make_world` makes one."""

    seed: int
    folder: Path
    trace: Trace = field(default_factory=Trace)
    now_us: int = 0
    weather: Weather = CALM
    devices: dict[str, SimDevice] = field(default_factory=dict)
    made: dict[bytes, Made] = field(default_factory=dict)
    truth: Truth = field(default_factory=Truth)
    backups: list[Any] = field(default_factory=list)
    is_calm: bool = False
    _queue: list[tuple[int, int, str, str, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0
    events: int = 0

    def __post_init__(self) -> None:
        self.network = self.stream("network")
        self.authority = Authority(self.stream("authority"), START_S, ORG)
        self.broker = Broker(self, has_wildcard_retained=self.stream("broker").random() < 0.5)
        self.controller = SimController(self, self.folder, tuple(self.authority.roots))

    def stream(self, name: str) -> random.Random:
        """Randomness of one part; a string seeds `Random` by SHA-512, whatever the hash seed."""
        return random.Random(f"{self.seed} {name}")

    @property
    def wall_s(self) -> float:
        """True time, Unix seconds."""
        return START_S + self.now_us / SECOND_US

    # --- events

    def at(self, delay_us: int, who: str, what: str, act: Callable[[], None]) -> None:
        """Let `act` happen after `delay_us`."""
        self._count += 1
        entry = (self.now_us + max(0, delay_us), self._count, who, what, act)
        heapq.heappush(self._queue, entry)

    def note(self, who: str, what: str) -> None:
        self.trace.note(self.now_us, who, what)

    def step(self) -> None:
        """The next event, and what must hold after it."""
        self.now_us, _, who, what, act = heapq.heappop(self._queue)
        self.events += 1
        self.trace.note(self.now_us, who, what)
        act()
        if who in self.devices:
            if self.devices[who].has_acted:
                invariants.check_device(self, self.devices[who])
        else:  # itself, an operator or a fault, which may make it write
            invariants.check_controller(self)

    def run_until(self, at_us: int, is_done: Callable[[], bool] | None = None) -> bool:
        """Every event before that moment; True as soon as `is_done` (asked every 10 s)."""
        asked_us = self.now_us
        while self._queue and self._queue[0][0] <= at_us:
            self.step()
            if is_done is not None and self.now_us - asked_us >= 10 * SECOND_US:
                asked_us = self.now_us
                if is_done():
                    return True
        self.now_us = max(self.now_us, at_us)
        return is_done is not None and is_done()

    # --- what parts ask

    def check_effect(self, device: SimDevice, effect: Effect) -> None:
        invariants.check_effect(self, device, effect)

    def check_boot(self, device: SimDevice, record: AgentRecord | None) -> None:
        invariants.check_boot(self, device, record)

    # --- inhabitants

    def make_model(self, version: str, behaviour: Behaviour, rows: int = 0) -> Made:
        """A bundle that exists from now on."""
        weights = 1 + len(self.made) % 4
        keys = self.authority.release_keys[:1]
        made = make_model(version, weights, keys, behaviour, rows)
        self.made[made.digest] = made
        return made

    def enroll(self, name: str, rank: float) -> SimDevice:
        """A device that was enrolled before the voyage begins."""
        source = self.stream(f"keys {name}")
        signing = SigningKey.from_seed(source.randbytes(32))
        agreement = AgreementKey.from_seed(source.randbytes(32))
        units = (UnitRequest(unit=UNIT, hardware_class=HARDWARE),)
        request = EnrolRequest(
            connection=name, signing_key=signing.public, agreement_key=agreement.public,
            units=units, labels={}, agent_version="sim", nonce=bytes(16),
        )  # fmt: skip
        sealed = seal(request, TrustRole.DEVICE, signing)
        self.controller.do(
            lambda org: enrolment.enroll(
                org, sealed, BrokerSettings(), "", "ada", self.controller.now_s
            )
        )
        keys = agreement.agree(self.controller.keyring.agreement.public, ORG, name)
        identity = Identity(ORG, name, signing, keys, {UNIT: hardware_class()})
        drift = source.uniform(-2e-4, 2e-4)
        start_us = source.choice((0, 5 * SECOND_US, 10**12))
        device = SimDevice(
            self, name, identity, tuple(self.authority.roots[:1]), rank, drift, start_us
        )
        self.devices[name] = device
        return device

    def close(self) -> None:
        self.controller.db.close()
        for backup in self.backups:
            backup.close()


def make_world(seed: int, device_count: int, folder: Path, trace: Trace | None = None) -> World:
    """An organization with devices that have just been switched on."""
    world = World(seed, folder, trace or Trace())
    world.controller.boot()
    for n in range(device_count):
        device = world.enroll(f"d{n:03d}", (n + 0.5) / device_count)
        world.at(world.network.randint(0, 5 * SECOND_US), device.name, "boots", device.boot)
    world.weather = world.stream("weather").choice(WEATHERS)
    world.at(SAVE_US, "broker", "saves", lambda: _save(world))
    world.at(LOOK_US, "truth", "looks", lambda: _look(world))
    return world


def _look(world: World) -> None:
    invariants.check_quiet(world)
    world.at(LOOK_US, "truth", "looks", lambda: _look(world))


def _save(world: World) -> None:
    if world.broker.is_up:
        world.broker.save()
    world.at(SAVE_US, "broker", "saves", lambda: _save(world))


class Mistakes(logging.Handler):
    """The controller set a message aside because of a mistake of its own: a finding."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            raise Violation(record.getMessage()) from record.exc_info[1]


@contextmanager
def programs_silenced() -> Iterator[None]:
    """Log lines go nowhere, except those that tell of a mistake; afterwards as it was before."""
    loggers = [logging.getLogger(name) for name in ("wherry_agent", "wherry_controller")]
    before = [(one.propagate, one.level, one.handlers) for one in loggers]
    for logger, level in zip(loggers, (logging.CRITICAL + 1, logging.ERROR), strict=True):
        logger.propagate, logger.handlers = False, [Mistakes()]
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, (propagate, level, handlers) in zip(loggers, before, strict=True):
            logger.propagate, logger.handlers = propagate, handlers
            logger.setLevel(level)


@contextmanager
def garbage_left_lying() -> Iterator[None]:
    """Cycles are looked for rarely: a voyage makes few, and many objects that only last."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_PER_LOOK, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """For the vault; in memory where the machine has such a place."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(
        prefix="wherry-sim-", dir=memory if memory.is_dir() else None
    )


__all__ = [
    "Disturbance",
    "Violation",
    "World",
    "garbage_left_lying",
    "make_world",
    "programs_silenced",
    "scratch_folder",
]
