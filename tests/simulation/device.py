"""One device: the real agent core, event loop, blob store, record and spool, over twins.

Rules:
1. A life ends at any effect or disk operation (`die_at_effect`, `disk.cut_at`): power is cut, and
   the disk decides what is left; or the process is killed, and the disk keeps what was written.
2. What the agent's work queue does takes time, and anything may happen meanwhile.
3. Everything that invariants need to know of this device's truth is in `Log`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wherry_agent.core import agent as core
from wherry_agent.core.agent import Found
from wherry_agent.core.effects import Ask, Configure, Effect, LoadCandidate, Persist, Publish
from wherry_agent.core.inputs import Answered, Connected, Disconnected, Moment, Received, Sampled
from wherry_agent.core.presence import presence
from wherry_agent.core.record import (
    AgentRecord,
    ModelRecord,
    first_record,
    kept_manifests,
    unit_record,
)
from wherry_agent.core.reports import Reports
from wherry_agent.core.state import Agent, Identity, Settings
from wherry_agent.shell import record_file, spool_files
from wherry_agent.shell.blob_store import BlobStore
from wherry_agent.shell.runtime import Answers, Runtime
from wherry_agent.telemetry.energy import Unavailable
from wherry_agent.telemetry.pack import Performance, performance_pack, resources_pack, unit_base
from wherry_protocol.codec import decode, encode
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import TelemetryConfig
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.messages.rpc import Verb, VerifyReply, VerifyRequest

from tests.simulation.broker import NO_MID, Client
from tests.simulation.disk import FaultyDisk, PowerCutError
from tests.simulation.engine import UNIT, EngineTwin
from tests.simulation.network import SECOND_US, Wire, draw

if TYPE_CHECKING:
    from tests.simulation.world import World

SETTINGS = Settings(agent_version="sim", abi_min=1, abi_max=1, spool_bytes_max=64 * 1024)
IDLE_TICK_US = 5 * SECOND_US
BUSY_TICK_US = SECOND_US // 2
CONNECTIONS_PER_BOOT = 1 << 20
IN_FLIGHT_MAX = 1000
FAILED = (Outcome.REJECTED, Outcome.REVERTED)
THE_BUNDLES_FAULT = (Code.GOLDEN_MISMATCH, Code.OVER_LATENCY, Code.ERROR_RATE, Code.ENGINE_CRASH)


class ProcessDiedError(BaseException):
    """The process was killed right here."""


@dataclass
class Ambush:
    """A fault that waits for an effect of that kind, and strikes `count` times."""

    kind: type[Effect]
    strike: Callable[[], None]
    count: int = 1


@dataclass
class Log:
    """What this device truly did, over all its lives."""

    relied_on: AgentRecord | None = None  # the record that later effects were allowed to rely on
    writing: list[AgentRecord] = field(default_factory=list)  # begun, and not known to be durable
    confirmed: dict[bytes, None] = field(default_factory=dict)
    confirmed_count: int = 0  # as invariants saw it last
    failures: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # count, when
    boot_counts: set[int] = field(default_factory=set)
    has_reused_boot: bool = False  # a start that was never durable: its number came again
    trying: bytes | None = None  # what was loaded for an assignment last
    reports: Reports | None = None  # as invariants saw them last
    trouble_us: int = 0  # when its disk refused something last
    complaints: dict[str, int] = field(default_factory=dict)  # name -> since when (`quiet`)
    blamed: tuple[bytes, Code] | None = None  # what it failed last, and why
    boots: int = 0
    deaths: int = 0


class WatchedRuntime(Runtime):
    """The real event loop; the device looks at each effect before and after."""

    device: "SimDevice"

    def _do(self, effect: Effect) -> None:
        self.device.before(effect)
        super()._do(effect)
        self.device.after(effect)


@dataclass
class SimDevice:
    """`rank` in 0..1 is this device's place among those that a flaky bundle is bad on."""

    world: "World"
    name: str
    identity: Identity
    first_roots: tuple[bytes, ...]
    rank: float
    drift: float = 0.0  # of the monotonic clock, as a share
    start_us: int = 0  # what the monotonic clock shows at the beginning
    settings: Settings = SETTINGS
    life: int = 0
    is_running: bool = False
    is_partitioned: bool = False
    die_at_effect: int | None = None
    cut_in_record: int | None = None  # power goes at this operation of the next record
    ambush: Ambush | None = None
    is_chatty: bool = False  # it reports every second
    frozen_until_us: int = 0
    is_power_lost: bool = True  # how the next death goes
    has_acted: bool = False  # since the invariants looked: its own state may be another
    connection_number: int = 0
    log: Log = field(default_factory=Log)

    def __post_init__(self) -> None:
        self.random = self.world.stream(f"device {self.name}")
        source = self.world.stream(f"disk {self.name}")
        self.disk = FaultyDisk(source, capacity_bytes=4 << 20, note=self._note)
        self.wire = Wire(self.world, self.name)
        self.runtime: WatchedRuntime | None = None
        self.engine: EngineTwin | None = None
        self.is_connected = False
        self.connected_us = 0
        self.telemetry = TelemetryConfig()
        self.in_flight: dict[int, Publish] = {}
        self.jobs: deque[Callable[[], None]] = deque()
        self._next_mid = 1
        self._is_turn_due = False
        self._models_of: tuple[AgentRecord | None, dict[str, ModelRecord]] = (None, {})

    def _note(self, what: str) -> None:
        self.world.note(self.name, what)

    @property
    def live(self) -> WatchedRuntime:
        if self.runtime is None:
            raise RuntimeError(f"{self.name} has not booted yet")
        return self.runtime

    @property
    def agent(self) -> Agent:
        return self.live.agent

    @property
    def loops(self) -> EngineTwin:
        if self.engine is None:
            raise RuntimeError(f"{self.name} has not booted yet")
        return self.engine

    def now_us(self) -> int:
        """Monotonic; it drifts, and starts anywhere."""
        return self.start_us + self.world.now_us + int(self.world.now_us * self.drift)

    def moment(self) -> Moment:
        return Moment(self.now_us(), self.random.random())

    # --- time

    def later(self, delay_us: int, what: str, act: Callable[[], None]) -> None:
        """In this life only, and once it is not frozen; a death inside `act` ends only the life."""
        life = self.life

        def alive() -> None:
            if self.life != life or not self.is_running:
                return
            if self.world.now_us < self.frozen_until_us:
                self.later(self.frozen_until_us - self.world.now_us, what, act)
            else:
                self.guarded(act)

        self.world.at(delay_us, self.name, what, alive)

    def guarded(self, act: Callable[[], None]) -> None:
        self.has_acted = True
        try:
            act()
        except (PowerCutError, ProcessDiedError) as death:
            self.die(is_power_lost=isinstance(death, PowerCutError) or self.is_power_lost)

    # --- life and death

    def boot(self) -> None:
        """Start the agent on whatever the disk holds."""
        self.life += 1
        self.is_running = True
        self.log.boots += 1
        self.jobs.clear()
        self.in_flight.clear()
        self._is_turn_due = False
        self.guarded(self._boot)

    def _boot(self) -> None:
        store = BlobStore(self.disk)
        record = record_file.load(self.disk)
        self.world.check_boot(self, record)
        if record is not None:
            self._relied_on(record)
        record = record or first_record(self.first_roots)
        found = Found(
            identity=self.identity,
            settings=self.settings,
            record=record,
            manifests=store.intact_manifests(kept_manifests(record)),
            segments=self._load_segments(),
            boot_id=self.random.randbytes(16),
            nonce=self.random.randbytes(16),
        )
        boot_count = record.boot_count + 1
        self.log.has_reused_boot |= boot_count in self.log.boot_counts
        self.log.boot_counts.add(boot_count)
        self.connection_number = (record.boot_count + 1) * CONNECTIONS_PER_BOOT
        agent, effects = core.start(found, self.moment())
        self.engine = EngineTwin(store, self._behaviour, self._post, self.now_us)
        answers = Answers(self._answer, self._configure)
        self.runtime = WatchedRuntime(
            agent, store, self, {UNIT: self.engine}, self.moment, self._work, answers
        )
        self.runtime.device = self
        self.live.carry_out(None, effects)
        self._turn_soon()
        self.later(self.random.randint(0, IDLE_TICK_US), "ticks", self._tick)
        self.later(self.random.randint(0, 3 * SECOND_US), "connects", self._connect)
        for name, every_s in (("performance", 60), ("resources", 30)):
            first_us = self.random.randint(0, every_s * SECOND_US)
            self.later(first_us, name, lambda name=name: self._sample(name))

    def _load_segments(self) -> tuple[Any, ...]:
        try:
            return spool_files.load(self.disk)
        except OSError as error:  # the service's supervisor starts it again
            raise ProcessDiedError from error

    def _behaviour(self, digest: bytes) -> Any:
        return self.world.made[digest].on(self.rank)

    def die(self, *, is_power_lost: bool) -> None:
        """The life ends here; another one begins after a while."""
        self.life += 1
        self.has_acted = True
        self.is_running = self.is_connected = False
        self.log.deaths += 1
        self.die_at_effect = None
        self.frozen_until_us = 0
        if is_power_lost:
            self.disk = self.disk.after_power_cut()
        self.disk.cut_at = None
        self.wire.cut()
        self.world.broker.lose(self.client_id)
        word = "power is lost" if is_power_lost else "is killed"
        self.world.note(self.name, word)
        delay_us = self.random.randint(SECOND_US, 20 * SECOND_US)
        self.world.at(delay_us, self.name, "boots", self.boot)

    def before(self, effect: Effect) -> None:
        """Rule 1; and what must hold before an effect is done."""
        if self.die_at_effect is not None:
            self.die_at_effect -= 1
            if self.die_at_effect < 0:
                raise ProcessDiedError
        self.world.check_effect(self, effect)
        if self.ambush is not None and isinstance(effect, self.ambush.kind):
            ambush, self.ambush.count = self.ambush, self.ambush.count - 1
            self.ambush = ambush if ambush.count > 0 else None
            ambush.strike()
        if isinstance(effect, Persist):
            self.log.writing.append(effect.record)
            if self.cut_in_record is not None:
                self.disk.cut_at = self.disk.operation_count + self.cut_in_record
                self.cut_in_record = None

    def after(self, effect: Effect) -> None:
        if isinstance(effect, Persist):
            self._relied_on(effect.record)
        elif isinstance(effect, LoadCandidate) and effect.assignment is not None:
            self.log.trying = effect.slot.manifest_digest

    def _relied_on(self, record: AgentRecord) -> None:
        """This record is durable; learn from it how trials ended."""
        before = self.record_models()
        self.log.relied_on = record
        self.log.writing.clear()
        for model, now in self.record_models().items():
            if model in before and before[model] == now:
                continue
            self._note_blame(before.get(model), now)
            if now.outcome is Outcome.CONFIRMED and now.active is not None:
                self.log.confirmed[now.active.manifest_digest] = None
                self.log.failures.pop(now.active.manifest_digest, None)
            elif now.outcome in FAILED and now.code in THE_BUNDLES_FAULT:
                self._count_failure()

    def _note_blame(self, before: ModelRecord | None, now: ModelRecord) -> None:
        if now.outcome in FAILED and (before is None or before.outcome is not now.outcome):
            tried = before.active if before is not None and before.trial is not None else None
            digest = self.log.trying if tried is None else tried.manifest_digest
            self.log.blamed = None if digest is None else (digest, now.code)

    def _count_failure(self) -> None:
        digest, agent = self.log.trying, self.runtime and self.runtime.agent
        if digest is None or not agent or agent.clock.base_s is None:
            return  # without fleet time the wait begins at the last known floor
        count, _ = self.log.failures.get(digest, (0, 0))
        self.log.failures[digest] = (count + 1, self.world.now_us)
        self.log.trying = None

    # --- the event loop

    def _post(self, given: Any) -> None:
        self.live.post(given)
        self._turn_soon()

    def _turn_soon(self) -> None:
        if not self._is_turn_due:
            self._is_turn_due = True
            self.later(draw(self.random, 50, 3_000), "turns", self._turn)

    def _turn(self) -> None:
        """Everything that is in the inbox now."""
        self._is_turn_due = False
        inbox = self.live.inbox
        for _ in range(inbox.qsize()):
            given, after = inbox.get()
            self.live.handle(given)
            if after is not None:
                after()
        if not inbox.empty():
            self._turn_soon()

    def _tick(self) -> None:
        self.live.tick()
        if not self.live.inbox.empty():
            self._turn_soon()
        is_busy = self.loops.has_trial()
        self.later(BUSY_TICK_US if is_busy else IDLE_TICK_US, "ticks", self._tick)

    def _work(self, job: Callable[[], None]) -> None:
        """The worker thread: one job after the other, each takes its time."""
        self.jobs.append(job)
        if len(self.jobs) == 1:
            self._job_later()

    def _job_later(self) -> None:
        self.later(draw(self.random, 200, 60_000), "works", self._do_job)

    def _do_job(self) -> None:
        self.jobs[0]()
        self.jobs.popleft()
        if self.jobs:
            self._job_later()
        if not self.live.inbox.empty():
            self._turn_soon()

    def _answer(self, question: Ask) -> None:
        body = b""
        if question.verb == Verb.VERIFY:
            digest = self.engine.serving.get(decode(VerifyRequest, question.body).model)
            told = VerifyReply(
                is_intact=True, golden_passed=1, golden_count=1, manifest_digest=digest
            )
            body = encode(told)
        self._post(Answered(question.unit, question.request_id, Code.OK, body=body))

    def _configure(self, effect: Configure) -> None:
        self.telemetry = effect.telemetry

    # --- telemetry

    def _sample(self, name: str) -> None:
        base = unit_base(self.identity.org, self.identity.connection, UNIT)
        if name == "performance":
            every_s = self.telemetry.performance_s
            packs = self._performance(base, every_s)
        else:
            every_s = self.telemetry.resources_s
            figures = {"memory.rss": 2e6, "memory.budget": 6.4e7}
            packs = [resources_pack(base, figures)]
        for pack in packs:
            self._post(Sampled(UNIT, pack))
        every_s = 1 if self.is_chatty else every_s
        self.later(every_s * SECOND_US, name, lambda: self._sample(name))

    def _performance(self, base: str, interval_s: int) -> list[Any]:
        packs = []
        for model, digest in self.loops.serving.items():
            if digest is None or self.loops.is_isolated:
                continue
            done = self.loops.counted(digest)
            self.world.truth.count(digest, done.inferences, done.errors)
            version = self.loops.loaded[digest].manifest.version
            none = Unavailable("no sensor")
            seen = Performance(model, version, "active", digest, float(interval_s), done, none)
            packs.append(performance_pack(base, seen))
            packs += self._shadow_pack(base, model, float(interval_s))
        return packs

    def _shadow_pack(self, base: str, model: str, interval_s: float) -> list[Any]:
        """What runs beside hurts nobody, so the truth does not count it."""
        found = self.loops.shadowed(model)
        if found is None:
            return []
        digest, done, counts = found
        self.world.truth.compared[digest] += counts.compared
        version = self.loops.loaded[digest].manifest.version
        none = Unavailable("no sensor")
        seen = Performance(model, version, "shadow", digest, interval_s, done, none, counts)
        return [performance_pack(base, seen)]

    # --- the link (runtime.Link)

    @property
    def client_id(self) -> str:
        return f"acme/d/{self.name}"

    def _connect(self) -> None:
        """An attempt; on failure another one, later and later."""
        if self.is_connected:
            return
        if self.is_partitioned or not self.world.broker.is_up:
            wait_us = self.random.randint(SECOND_US, 15 * SECOND_US)
            self.later(wait_us, "connects", self._connect)
            return
        self.connection_number += 1
        number = self.connection_number
        topic = self.identity.topics.presence(self.identity.connection)
        will = (topic, presence(self.identity, number, False))
        self.wire.connect()
        self.is_connected, self.connected_us = True, self.world.now_us
        client = Client(self.wire, self._hear, will, is_session_kept=False)
        self.world.broker.connect(self.client_id, client)
        for mid in list(self.in_flight):
            self._send(mid)
        self._post(Connected(number))

    def cut(self) -> None:
        """The connection breaks; the agent notices soon, the broker when it does."""
        if not self.wire.is_up:
            return
        self.wire.cut()
        self.world.broker.lose(self.client_id)
        self.later(self.random.randint(0, 5 * SECOND_US), "notices the cut", self._noticed_cut)

    def _noticed_cut(self) -> None:
        if self.wire.is_up:
            return
        self.is_connected = False
        self._post(Disconnected())
        wait_us = self.random.randint(SECOND_US, 10 * SECOND_US)
        self.later(wait_us, "connects", self._connect)

    def _hear(self, topic: str, payload: bytes, mid: int) -> None:
        if not self.is_running or self.runtime is None:
            return
        epoch = self.wire.epoch

        def acknowledge() -> None:
            if self.wire.epoch == epoch and mid != NO_MID:
                broker, name = self.world.broker, self.client_id
                self.wire.carry("up", "puback", 4, lambda: broker.acknowledge(name, mid))

        self.live.post(Received(topic, payload), acknowledge)
        self._turn_soon()

    def publish(self, topic: str, payload: bytes, is_retained: bool) -> None:
        """Dropped while offline; in flight until the broker has taken it, over reconnections."""
        if not self.is_connected or len(self.in_flight) >= IN_FLIGHT_MAX:
            return
        mid = self._next_mid
        self._next_mid += 1
        self.in_flight[mid] = Publish(topic, payload, is_retained)
        self.world.note(self.name, f"publishes {topic.rsplit('/', 1)[-1]} {len(payload)} B")
        self.world.trace.carry(payload)
        self._send(mid)

    def _send(self, mid: int) -> None:
        one = self.in_flight[mid]
        life = self.life

        def taken() -> None:
            if self.life == life:
                self.in_flight.pop(mid, None)

        def arrive() -> None:
            self.world.broker.publish(one.topic, one.payload, is_retained=one.is_retained)
            self.wire.carry("down", "puback", 4, taken)

        self.wire.carry("up", one.topic, len(one.payload), arrive)

    def subscribe(self, topics: tuple[str, ...]) -> None:
        def arrive() -> None:
            self.world.broker.subscribe(self.client_id, topics)
            self.world.truth.subscribed.add(self.name)
            self.has_acted = True  # the broker has, for it: there is something to look at

        if self.is_connected and topics:
            self.wire.carry("up", "subscriptions", len(topics), arrive)

    def unsubscribe(self, topics: tuple[str, ...]) -> None:
        if self.is_connected and topics:
            name = self.client_id
            count = len(topics)
            self.wire.carry(
                "up", "subscriptions", count, lambda: self.world.broker.unsubscribe(name, topics)
            )

    # --- what others may ask

    @property
    def serving(self) -> dict[str, bytes | None]:
        """What answers inferences; nothing while the process is away."""
        return self.loops.serving if self.is_running and self.engine is not None else {}

    @property
    def is_heard(self) -> bool:
        """What it says arrives."""
        return self.is_running and self.wire.is_up and not self.wire.is_half_open

    @property
    def is_rolled_back(self) -> bool:
        """The last record could not be written, so memory and disk differ."""
        kept, relied_on = self.live.agent.persisted, self.log.relied_on
        return bool(self.log.writing) or (kept is not relied_on and kept != relied_on)

    @property
    def is_settled(self) -> bool:
        """Nothing waits in the inbox."""
        return self.runtime is not None and self.runtime.inbox.empty()

    @property
    def revision(self) -> int:
        return self.agent.units[UNIT].memory.revision

    def record_models(self) -> dict[str, ModelRecord]:
        """By the record that was relied on last; nearly every event asks."""
        record = self.log.relied_on
        if record is not self._models_of[0]:
            models = () if record is None else unit_record(record, UNIT).models
            self._models_of = record, {one.model: one for one in models}
        return self._models_of[1]
