"""A device in a glass: the real core, event loop, blob store and spool; a simulated disk, broker,
clock and inference host. Nothing sleeps; time goes on when a test says so."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from wherry_agent.core import agent as core
from wherry_agent.core.agent import Found
from wherry_agent.core.effects import (
    Ask,
    Configure,
    Divert,
    Isolate,
    LoadCandidate,
    MakePermanent,
    OnUnit,
    Release,
    SelfTest,
    Shadow,
    Swap,
    UnwatchTrial,
    WatchTrial,
)
from wherry_agent.core.inputs import (
    Answered,
    Connected,
    Disconnected,
    Diverted,
    Figures,
    Loaded,
    Moment,
    Received,
    SelfTested,
    StepFailed,
    TensorFacts,
)
from wherry_agent.core.record import first_record, kept_manifests
from wherry_agent.core.state import Settings
from wherry_agent.shell import record_file, spool_files
from wherry_agent.shell.blob_store import BlobStore
from wherry_agent.shell.runtime import Answers, Runtime
from wherry_native.engine import EngineError, Program
from wherry_protocol.errors import Code, WherryError
from wherry_protocol.manifest import DType, Manifest, Role
from wherry_protocol.messages.observed import Event, Telemetry
from wherry_protocol.messages.reported import ModelReport, Reported
from wherry_protocol.messages.rpc import Reply
from wherry_protocol.sealed import open_mac

from tests.agent.director import Device, Director
from tests.agent.sim_disk import SimDisk


@dataclass
class SimBroker:
    """Retained messages and one subscriber. `is_faithful` False: a test plays the broker."""

    retained: dict[str, bytes] = field(default_factory=dict)
    subscribed: set[str] = field(default_factory=set)
    published: list[tuple[str, bytes]] = field(default_factory=list)
    subscribed_count_max: int = 0
    is_up: bool = False
    deliver: Callable[[str, bytes], None] = lambda _topic, _payload: None

    # what the agent does (runtime.Link)

    def publish(self, topic: str, payload: bytes, is_retained: bool) -> None:
        if self.is_up:
            self.published.append((topic, payload))
            if is_retained:
                self.retained[topic] = payload

    def publish_once(self, topic: str, payload: bytes) -> None:
        self.publish(topic, payload, is_retained=False)

    def subscribe(self, topics: tuple[str, ...]) -> None:
        self.subscribed.update(topics)
        chunks = sum("/b/" in topic for topic in self.subscribed)
        self.subscribed_count_max = max(self.subscribed_count_max, chunks)
        for topic in topics:
            if self.is_up and topic in self.retained:
                self.deliver(topic, self.retained[topic])

    def unsubscribe(self, topics: tuple[str, ...]) -> None:
        self.subscribed.difference_update(topics)

    # what the director does

    def say(self, topic: str, payload: bytes, *, is_retained: bool = False) -> None:
        if is_retained:
            self.retained[topic] = payload
        if self.is_up and topic in self.subscribed:
            self.deliver(topic, payload)


@dataclass
class SimHost:
    """Loads and tests programs for real; how inferences go is up to the test.

    `serving` is the digest that answers; `history` every swap. Implements `runtime.Host`.
    """

    store: BlobStore
    tell: Callable[[Any], None]
    programs: dict[bytes, tuple[Program, Manifest]] = field(default_factory=dict)
    serving: dict[str, bytes | None] = field(default_factory=dict)
    history: list[tuple[str, bytes | None]] = field(default_factory=list)
    diverted: dict[str, bytes | None] = field(default_factory=dict)
    released: list[Release] = field(default_factory=list)
    shadows: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    watched: dict[str, bytes] = field(default_factory=dict)
    doing: dict[bytes, dict[str, Any]] = field(default_factory=dict)  # Figures fields by digest
    latency_us_p95: int = 100
    is_isolated: bool = False
    unit: str = "self"
    prepared_bytes: dict[bytes, int] = field(default_factory=dict)  # by the kernels, by digest

    def execute(self, effect: OnUnit) -> None:
        try:
            self._execute(effect)
        except EngineError as error:
            self._fail(effect, Code.PROGRAM, str(error))
        except (WherryError, OSError) as error:
            self._fail(effect, getattr(error, "code", Code.STORAGE), str(error))

    def _fail(self, effect: OnUnit, code: Code, text: str) -> None:
        digest = getattr(effect, "manifest_digest", None)
        if isinstance(effect, LoadCandidate):
            digest = effect.slot.manifest_digest
        is_unloadable = isinstance(effect, LoadCandidate)
        self.tell(StepFailed(self.unit, effect.model, digest or b"", code, text, is_unloadable))

    def _execute(self, effect: OnUnit) -> None:
        if isinstance(effect, LoadCandidate):
            self._load(effect)
        elif isinstance(effect, SelfTest):
            self._self_test(effect)
        elif isinstance(effect, Swap):
            digest = effect.manifest_digest
            if digest is not None and digest not in self.programs:
                raise WherryError("not loaded", Code.FAILED)
            self.serving[effect.model] = digest
            self.history.append((effect.model, digest))
            if digest is not None and (effect.model, digest) in self._shadowing():
                del self.shadows[effect.model]  # what answers runs after nothing
            self.diverted.pop(effect.model, None)
        elif isinstance(effect, Divert):
            self._divert(effect)
        elif isinstance(effect, WatchTrial):
            self.watched[effect.model] = effect.manifest_digest
        elif isinstance(effect, UnwatchTrial):
            self.watched.pop(effect.model, None)
        elif isinstance(effect, Release):
            self.released.append(effect)
            self._unload({effect.manifest_digest} - {self.serving.get(effect.model)})
        elif isinstance(effect, MakePermanent):
            kept = {effect.manifest_digest, effect.kept}
            mine = {d for d, (_, m) in self.programs.items() if m.model == effect.model}
            self._unload(mine - kept)
        elif isinstance(effect, Shadow):
            self._shadow(effect)

    def _shadow(self, effect: Shadow) -> None:
        self.shadows.pop(effect.model, None)
        if effect.manifest_digest is not None:
            if effect.manifest_digest not in self.programs:
                raise WherryError("not loaded", Code.FAILED)
            self.shadows[effect.model] = (effect.manifest_digest, effect.sample_bp)

    def _shadowing(self) -> set[tuple[str, bytes]]:
        return {(model, digest) for model, (digest, _) in self.shadows.items()}

    def _unload(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self.programs.pop(digest, None)

    def _divert(self, effect: Divert) -> None:
        self.diverted.pop(effect.model, None)
        if effect.is_diverted:
            self.diverted[effect.model] = effect.fallback
            place = (self.unit, effect.model, effect.manifest_digest)
            self.tell(Diverted(*place, effect.fallback))

    def _load(self, effect: LoadCandidate) -> None:
        program = Program(self.store.open_image(effect.manifest))
        digest = effect.slot.manifest_digest
        self.programs[digest] = (program, effect.manifest)
        facts = [
            tuple(
                TensorFacts(int(DType[t.dtype.upper()]), t.shape, t.scale, t.zero_point,
                            t.size_bytes)
                for t in tensors
            )
            for tensors in (program.inputs, program.outputs)
        ]  # fmt: skip
        memory = program.image_bytes + program.arena_bytes + self.prepared_bytes.get(digest, 0)
        self.tell(Loaded(self.unit, effect.model, digest, facts[0], facts[1], memory))

    def _self_test(self, effect: SelfTest) -> None:
        digest = effect.manifest_digest
        program, manifest = self.programs[digest]
        inputs = self.store.pieces_of(manifest, Role.GOLDEN_INPUTS)
        outputs = self.store.pieces_of(manifest, Role.GOLDEN_OUTPUTS)
        count = manifest.golden_count
        n, m = len(inputs) // count, len(outputs) // count
        passed = sum(
            program.run(inputs[i * n : (i + 1) * n]) == outputs[i * m : (i + 1) * m]
            for i in range(count)
        )
        self.tell(SelfTested(self.unit, effect.model, digest, passed, count, self.latency_us_p95))

    def is_quick(self, effect: OnUnit) -> bool:
        return isinstance(effect, Swap)

    def isolate(self, effect: Isolate) -> None:
        self.is_isolated = effect.is_isolated

    def figures(self) -> list[Figures]:
        found = []
        for model, digest in self.watched.items():
            fields = {"good_count": 0, "error_count": 0, "latency_us_mean": 50.0,
                      "latency_us_p95": 80, "energy_uj_mean": None,
                      **self.doing.get(digest, {})}  # fmt: skip
            found.append(Figures(self.unit, model, digest, **fields))
        return found

    def has_trial(self) -> bool:
        return bool(self.watched)


SETTINGS = Settings(agent_version="test", abi_min=1, abi_max=1)


@dataclass
class Harbour:
    """One device, its director, and everything between them."""

    director: Director = field(default_factory=Director)
    disk: SimDisk = field(default_factory=SimDisk)
    broker: SimBroker = field(default_factory=SimBroker)
    settings: Settings = SETTINGS
    now_us: int = 1_000_000
    device: Device | None = None
    runtime: Runtime | None = None
    host: SimHost | None = None
    connection_number: int = 0
    local_minutes: int = 0  # the device's zone, east of UTC
    answers_time: bool = True
    answered: tuple[bytes | None, int, int] | None = None  # once per report, as a controller does
    questions: list[Ask] = field(default_factory=list)
    configured: list[Configure] = field(default_factory=list)
    prepared_bytes: dict[bytes, int] = field(default_factory=dict)
    make_runtime: Callable[..., Runtime] = Runtime

    def __post_init__(self) -> None:
        self.random = random.Random(3)
        if self.device is None:
            self.device = self.director.enrol_in_memory()

    # --- power

    def boot(self) -> "Harbour":
        """Start the agent on whatever the disk holds."""
        self.broker.subscribed.clear()
        self.broker.is_up = False
        store = BlobStore(self.disk)
        record = record_file.load(self.disk) or first_record(tuple(self.director.roots[:1]))
        assert self.device is not None
        assert self.device.identity is not None
        found = Found(
            identity=self.device.identity,
            settings=self.settings,
            record=record,
            manifests=store.intact_manifests(kept_manifests(record)),
            segments=spool_files.load(self.disk),
            boot_id=self.random.randbytes(16),
            nonce=self.random.randbytes(16),
        )
        agent, effects = core.start(found, self.moment())
        self.host = SimHost(store, self._tell, prepared_bytes=self.prepared_bytes)
        self.runtime = self.make_runtime(
            agent,
            store,
            self.broker,
            {"self": self.host},
            self.moment,
            lambda job: job(),
            Answers(self.questions.append, self.configured.append),
        )
        self.broker.deliver = lambda topic, payload: self.live.post(Received(topic, payload))
        self.live.carry_out(None, effects)
        self.settle()
        return self

    def _tell(self, given: Any) -> None:
        self.live.post(given)

    @property
    def live(self) -> Runtime:
        assert self.runtime is not None
        return self.runtime

    @property
    def loops(self) -> SimHost:
        assert self.host is not None
        return self.host

    @property
    def ashore(self) -> Device:
        assert self.device is not None
        return self.device

    def moment(self) -> Moment:
        return Moment(self.now_us, self.random.random(), self.local_minutes)

    # --- network

    def connect(self) -> "Harbour":
        self.broker.is_up = True
        self.connection_number += 1
        self.live.post(Connected(self.connection_number))
        self.settle()
        return self

    def cut(self) -> "Harbour":
        self.broker.is_up = False
        self.broker.subscribed.clear()
        self.live.post(Disconnected())
        self.settle()
        return self

    def settle(self) -> None:
        """Carry out everything that is queued; the director answers nonces."""
        while not self.live.inbox.empty():
            given, after = self.live.inbox.get()
            self.live.handle(given)
            if after is not None:
                after()
            if self.answers_time:
                self._answer_nonce()

    def _answer_nonce(self) -> None:
        if self.broker.is_up and self.live.agent.clock.base_s is None:
            reported = self.broker.retained.get(self.topic("reported"))
            if reported is None:
                return
            said = (self.reported.nonce, self.reported.boot_count, self.reported.sequence)
            nonce = said[0]
            if nonce == self.live.agent.clock.nonce and said != self.answered:
                self.answered = said
                self.say("rpc", self.director.time_answer(self.ashore, nonce))

    def topic(self, leaf: str) -> str:
        return self.director.topics.unit(self.ashore.name, "self", leaf)

    def say(self, leaf: str, payload: bytes, *, is_retained: bool = False) -> None:
        self.broker.say(self.topic(leaf), payload, is_retained=is_retained)

    def tick(self, seconds: float = 1.0) -> "Harbour":
        """Time goes on."""
        self.now_us += int(seconds * 1_000_000)
        self.live.tick()
        self.settle()
        return self

    # --- what the director does

    def publish(self, bundle: Any, *, without: tuple[str, ...] = ()) -> None:
        """All chunks, retained."""
        for topic, segment in self.director.chunks(bundle).items():
            if topic not in without:
                self.broker.say(topic, segment, is_retained=True)
        self.settle()

    def assign(self, bundle: Any, **changes: Any) -> "Harbour":
        """Publish the bundle and a desired document that names it."""
        self.publish(bundle)
        return self.wish([self.director.assignment(bundle, **changes)])

    def wish(self, assignments: Any, **changes: Any) -> "Harbour":
        desired = self.director.desired(self.ashore, assignments, **changes)
        return self.send(self.director.sealed(desired))

    def send(self, document: bytes) -> "Harbour":
        self.say("desired", document, is_retained=True)
        self.settle()
        return self

    def serve_well(self, bundle: Any, count: int = 100, **figures: Any) -> "Harbour":
        """The model on trial makes good inferences."""
        self.loops.doing[bundle.digest] = {"good_count": count, **figures}
        return self.tick(0.1)

    def install(self, bundle: Any, **changes: Any) -> "Harbour":
        """Assign, and confirm by good inferences."""
        return self.assign(bundle, **changes).serve_well(bundle)

    # --- what the agent says

    @property
    def reported(self) -> Reported:
        return self.director.open_reported(
            self.ashore, self.broker.retained[self.topic("reported")]
        )

    @property
    def model(self) -> ModelReport:
        """The only model in `reported`, sent again to be fresh."""
        self.tick(1.1)
        (model,) = self.reported.models
        return model

    @property
    def serving(self) -> bytes | None:
        """The digest that serves the only model."""
        return self.loops.serving.get("digits")

    def events(self) -> list[Event]:
        return self._opened(Event, "event")

    def telemetry(self) -> list[Telemetry]:
        return self._opened(Telemetry, "telemetry")

    def replies(self) -> list[Reply]:
        return self._opened(Reply, "reply")

    def _opened(self, cls: type[Any], leaf: str) -> list[Any]:
        mac_key = self.ashore.keys.mac_key
        topic = self.topic(leaf)
        return [
            open_mac(cls, data, mac_key) for name, data in self.broker.published if name == topic
        ]

    def answer(self, code: Code = Code.OK, body: bytes = b"") -> None:
        """The unit answers the oldest question."""
        question = self.questions.pop(0)
        self.live.post(Answered(question.unit, question.request_id, code, "", body))
        self.settle()


def afloat(**changes: Any) -> Harbour:
    """A booted, connected device with time."""
    return replace(Harbour(), **changes).boot().connect()
