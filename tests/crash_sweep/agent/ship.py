"""A device in a glass (`tests.agent.harbour`) that the sweep can stop and start again.

Rules:
1. What the shore says waits until a leg lets the device move, so that no cut ends a scenario.
2. The shore acknowledges reports as a controller does, with its own rules (`core.spool`).
3. Each life begins with `wake`; what must hold then and at each effect is in `invariants`.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Any

from wherry_agent.core.inputs import Disconnected, Sampled
from wherry_agent.core.record import unit_record
from wherry_agent.shell import record_file
from wherry_agent.telemetry.pack import resources_pack
from wherry_controller.core import spool
from wherry_protocol.bundle import Bundle
from wherry_protocol.messages.observed import Event, Telemetry
from wherry_protocol.messages.reported import Phase
from wherry_protocol.sealed import open_mac

from tests.agent.director import NOW_S, Director
from tests.agent.harbour import Harbour
from tests.crash_sweep.agent.disk import SweptDisk
from tests.crash_sweep.agent.log import Log
from tests.crash_sweep.agent.watch import WatchedRuntime
from tests.crash_sweep.sweep import Broken, Cut, Leg

UNIT = "self"
MODEL = "digits"
PATIENCE_S = 1.1  # one step of time while something is awaited
STEPS_MAX = 120
IMPATIENT_AFTER = 8  # steps; from then on they are longer
LONG_STEP_S = 12.0


@dataclass
class Bay(Harbour):
    """`has_network` False: at sea, whatever happens. `doing` is how each bundle's inferences go."""

    doing: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    log: Log = field(default_factory=Log)
    bundles: dict[str, Bundle] = field(default_factory=dict)
    has_network: bool = True
    is_dark: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.make_runtime = self._watched

    def _watched(self, *parts: Any) -> WatchedRuntime:
        runtime = WatchedRuntime(*parts)
        runtime.bay = self
        return runtime

    # --- the shore speaks; the device hears it in a leg

    def settle(self) -> None:
        """Rule 1: nothing moves yet."""

    def __getitem__(self, name: str) -> Bundle:
        return self.bundles[name]

    def want(self, *names: str, **changes: Any) -> None:
        """A new desired document for these bundles; their chunks are on the broker already."""
        assignments = [self.director.assignment(self[name], **changes) for name in names]
        self.wish(assignments)

    def put_to_sea(self) -> None:
        """The network is gone until `land`."""
        self.has_network = self.broker.is_up = False
        self.broker.subscribed.clear()
        if not self.is_dark:
            self.live.post(Disconnected())

    def land(self) -> None:
        self.has_network = True

    # --- power

    def wake(self) -> None:
        """Boot and connect where that is not so."""
        if self.is_dark:
            self.log.check_disk(self)
            self.boot()
            self.loops.doing = self.doing
            self.is_dark = False
            self._move()
            self.log.check_boot(self)
        if self.has_network and not self.broker.is_up:
            self.connect()
            self._move()

    def darken(self) -> None:
        self.is_dark = True
        self.broker.is_up = False
        self.broker.subscribed.clear()
        self.swept.source.seed(f"{self.swept.way} {self.swept.counts}")
        self.disk = self.swept.after_power_cut()

    def pull_plug(self, way: str = "lost") -> None:
        """Power goes between two operations: part of the scenario, no cut of the sweep."""
        self.swept.way = way
        self.darken()

    @property
    def swept(self) -> SweptDisk:
        assert isinstance(self.disk, SweptDisk)
        return self.disk

    # --- time

    def _move(self) -> None:
        """Everything that is queued, and the shore's answers, until all is quiet."""
        while not self.live.inbox.empty():
            Harbour.settle(self)
            self._acknowledge()

    def pass_time(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)
        self.director.now_s = NOW_S + self.now_us // 1_000_000
        self.live.tick()
        self._move()
        self.log.check(self)

    def sample(self) -> None:
        """The device has figures to tell."""
        pack = resources_pack(f"acme/gw1/{UNIT}/", {"memory.rss": 2e6, "memory.budget": 6e7})
        self.live.post(Sampled(UNIT, pack))

    def _acknowledge(self) -> None:
        """Rule 2."""
        new, self.broker.published = self.broker.published, []
        boots = {}
        for topic, payload in new:
            cls = {"event": Event, "telemetry": Telemetry}.get(topic.rpartition("/")[2])
            if cls is None:
                continue
            origin = open_mac(cls, payload, self.ashore.keys.mac_key).origin
            before = self.log.positions.get(origin.boot_id, spool.START)
            after, _ = spool.accept(before, origin.sequence, origin.oldest)
            self.log.positions[origin.boot_id] = boots[origin.boot_id] = after
            self.log.received.add((origin.boot_id, origin.sequence))
        for boot_id, position in boots.items():
            ack = self.director.ack(self.ashore, boot_id, position.contiguous)
            self.broker.say(self.director.topics.ack(self.ashore.name), ack)

    # --- what legs and ends look at

    def record(self, model: str = MODEL) -> Any:
        """What the agent believes of the model now; None where it knows none."""
        state = self.live.agent.units[UNIT].models.get(model)
        return None if state is None else state.record

    def phase(self, model: str = MODEL) -> Phase:
        state = self.live.agent.units[UNIT].models.get(model)
        return Phase.IDLE if state is None else state.phase

    def counts(self) -> tuple[int, ...]:
        return tuple(self.swept.counts)

    def end(self) -> dict[str, object]:
        """After a while in which all reports are delivered."""
        self.pass_time(PATIENCE_S)
        self.pass_time(PATIENCE_S)
        for _ in range(STEPS_MAX):
            if not self.live.agent.reports.held and not self.live.agent.reports.segments:
                break
            self.sample()
            self.pass_time(LONG_STEP_S)
        self.log.check_end(self)
        stored = record_file.load(self.disk)
        assert stored is not None
        unit = unit_record(stored, UNIT)
        return {
            "models": {m.model: (m.outcome.name, m.code.name, _short(m.active), _short(m.previous),
                                 _short(m.candidate), m.floor, m.mode.name) for m in unit.models},
            "serving": {m: d.hex()[:8] for m, d in sorted(self.loops.serving.items()) if d},
            "penalties": sorted(one.manifest_digest.hex()[:8] for one in unit.penalties),
            "revision": unit.revision,
            "roots": len(stored.roots),
            "stopped": (stored.is_stopped, stored.stop_sequence, unit.is_isolated),
        }  # fmt: skip


def _short(slot: Any) -> str | None:
    return None if slot is None else f"{slot.version} {slot.manifest_digest.hex()[:8]}"


def until(holds: Callable[[Bay], bool], what: str, step_s: float = PATIENCE_S) -> Leg:
    """A leg: let time pass until this holds."""

    def leg(bay: Bay) -> None:
        bay._move()
        for step in range(STEPS_MAX):
            if holds(bay):
                return
            bay.pass_time(step_s if step < IMPATIENT_AFTER else max(step_s, LONG_STEP_S))
        raise Broken(f"it never came to this: {what}; the record says {bay.record()}")

    return leg


def voyage_of(seconds: float, step_s: float, *, is_telling: bool) -> Leg:
    """A leg: this much time, in which the device may make reports."""
    left = [seconds]

    def leg(bay: Bay) -> None:
        while left[0] > 0:
            left[0] -= step_s
            if is_telling:
                bay.sample()
            bay.pass_time(step_s)

    return leg


# --- ports of departure


def fork(bay: Bay) -> Bay:
    """The same device and shore, independent from now on; asleep."""
    director = copy(bay.director)
    director.random = deepcopy(bay.director.random)
    director.content_keys = dict(bay.director.content_keys)
    director.roots = list(bay.director.roots)
    director.bundles = dict(bay.director.bundles)
    new = Bay(
        director=director,
        disk=bay.swept.copied(),
        settings=bay.settings,
        now_us=bay.now_us,
        device=bay.device,
        connection_number=bay.connection_number,
        bundles=bay.bundles,
        doing={digest: dict(how) for digest, how in bay.doing.items()},
        log=bay.log.copied(),
    )
    new.broker.retained = dict(bay.broker.retained)
    new.random = deepcopy(bay.random)
    return new


def first_port() -> Bay:
    """An enrolled device that never booted, and all bundles on the broker."""
    director = Director(seed=4)
    bay = Bay(director=director, disk=SweptDisk())
    bay.bundles = dict(_made(director))
    for bundle in bay.bundles.values():
        bay.publish(bundle)
        bay.doing[bundle.digest] = {"good_count": 100}
    bay.log.lying = frozenset((bay["lying"].digest,))
    return bay


def _made(director: Director) -> Iterator[tuple[str, Bundle]]:
    yield "old", director.made("1.0.0", seed=1)
    yield "new", director.made("1.1.0", seed=2, ballast_rows=600)
    yield "newer", director.made("1.2.0", seed=3, security_floor="1.1.0")
    yield "large", director.made("1.3.0", seed=8, ballast_rows=9_000)
    yield "lying", director.made("1.4.0", seed=5, golden_is_wrong=True)
    yield "words", director.made("1.0.0", model="words", seed=6)
    yield "sounds", director.made("1.0.0", model="sounds", seed=7)


def sail(bay: Bay, legs: Sequence[Leg]) -> Bay:
    """Without cuts, before a scenario begins."""
    for leg in legs:
        bay.wake()
        leg(bay)
    return bay


def ready(bay: Bay, cuts: Sequence[Cut]) -> Bay:
    """A copy with its cuts armed. What it does next is counted."""
    new = fork(bay)
    new.swept.on_synced = lambda folder: new.log.synced(new, folder)
    new.swept.on_unlink = lambda name: new.log.unlinked(new, name)
    new.swept.arm(cuts)
    return new
