"""One device of a very large fleet: the real agent core over a shell that is only values.

Rules:
1. It begins when the first message for it comes, with a version that it has confirmed before.
2. It wakes up only when something is due: figures of a trial, a report that had to wait, telemetry.
3. What it has on disk is a set of digests; a blob gets in there when its bytes hash to its digest.
"""

from collections.abc import Callable
from hashlib import sha256
from math import trunc
from typing import TYPE_CHECKING, Any

from wherry_agent.core import agent as core
from wherry_agent.core import effects as do
from wherry_agent.core import inputs as given
from wherry_agent.core.agent import Found
from wherry_agent.core.inputs import Input, Moment
from wherry_agent.core.record import AgentRecord, unit_record
from wherry_agent.core.state import Agent, Identity
from wherry_protocol.messages.reported import Outcome, Phase

from tests.simulation.engine import RATE_PER_S, UNIT, tensor_facts
from tests.simulation.models import MODEL
from tests.simulation.network import SECOND_US

if TYPE_CHECKING:
    from tests.simulation.lean.world import LeanWorld

TRIAL_TICK_US = SECOND_US
SLACK_US = 100_000  # after the shortest trial, so that enough inferences are there too
JOB_US = (200, 20_000)


def name_of(number: int) -> str:
    return f"d{number:06d}"


def boot_id_of(name: str) -> bytes:
    """Of its only boot."""
    return sha256(name.encode()).digest()[:16]


def nonce_of(name: str) -> bytes:
    """With which it asks for the time."""
    return sha256(name.encode()).digest()[16:]


class LeanDevice:
    """`serving` is what answers inferences, since `since_us`; `proven` passed its self-test. At
    `look_us` the trial's figures are looked at, if there is one."""

    __slots__ = (
        "agent", "blobs", "chunks", "loaded", "look_us", "name", "number", "proven", "record",
        "reported", "sampled_us", "serving", "since_us", "wake_us", "world",
    )  # fmt: skip

    def __init__(self, world: "LeanWorld", number: int, record: AgentRecord) -> None:
        self.world = world
        self.number = number
        self.name = name = name_of(number)
        self.reported = (0, 0)  # the newest report that the controller has
        self.record = record
        first = world.versions[0]
        self.blobs: set[bytes] = {first.digest, *(blob.digest for blob in first.manifest.blobs)}
        self.chunks: dict[bytes, dict[int, bytes]] = {}
        self.loaded: set[bytes] = set()
        self.proven: set[bytes] = {first.digest}
        self.serving: bytes | None = None
        self.since_us = self.sampled_us = world.now_us
        self.look_us: int | None = None
        self.wake_us = 0
        identity = Identity(world.org, name, world.device_key, world.connection_keys, world.classes)
        found = Found(
            identity, world.settings, record, {first.digest: first.manifest}, (),
            boot_id_of(name), nonce_of(name),
        )  # fmt: skip
        self.agent: Agent
        self.agent, effects = core.start(found, self.moment())
        self.carry_out(effects)
        self.step(given.Connected(1 << 20))
        self.sample_later()

    def moment(self) -> Moment:
        return Moment(self.world.now_us, self.world.draw(self.number, 0, 9_999) / 10_000)

    # --- steps

    def hear(self, topic: str, payload: bytes) -> None:
        self.step(given.Received(topic, payload))

    def step(self, what: Input) -> None:
        """One step of the core, carried out."""
        self.agent, effects = core.step(self.agent, what, self.moment())
        self.carry_out(effects)
        out = self.agent.units[UNIT].outgoing
        if out.is_dirty and out.sent_us is not None:
            self.wake_at(out.sent_us + SECOND_US)

    def carry_out(self, effects: tuple[do.Effect, ...]) -> None:
        for effect in effects:
            DOERS[type(effect)](self, effect)

    def later(self, what: Input) -> None:
        """The worker's answer: each job takes its time, one after the other is not needed here."""
        self.world.at(self.world.draw(self.number, *JOB_US), self.step, what)

    def wake_at(self, at_us: int) -> None:
        """Rule 2; one alarm is enough, the earliest."""
        at_us = max(at_us, self.world.now_us)
        if not self.world.now_us < self.wake_us <= at_us:
            self.wake_us = at_us
            self.world.at(at_us - self.world.now_us, self.wake, at_us)

    def wake(self, at_us: int) -> None:
        if at_us != self.wake_us:
            return  # an earlier alarm was set meanwhile
        self.wake_us = 0
        if self.look_us is not None and self.world.now_us >= self.look_us:
            self.look_us = self.world.now_us + TRIAL_TICK_US
            self.step(self.figures())
        self.step(given.Ticked())
        if self.look_us is not None:
            self.wake_at(self.look_us)

    # --- the engine's twin

    def inferences(self) -> int:
        return (self.world.now_us - self.since_us) * RATE_PER_S // SECOND_US

    def figures(self) -> given.Figures:
        digest = self.serving or b""
        behaviour, count = self.world.behaviour_of(digest), self.inferences()
        errors = trunc(count * behaviour.error_rate) if behaviour.error_rate else 0
        latency_us = behaviour.latency_us
        return given.Figures(
            UNIT, MODEL, digest, count - errors, errors, float(latency_us), latency_us, None
        )

    def sample_later(self) -> None:
        self.world.at(self.world.performance_s * SECOND_US, self.sample)

    def sample(self) -> None:
        """What was served since the last time, as a report."""
        begun_us = max(self.since_us, self.sampled_us)
        interval_us, self.sampled_us = self.world.now_us - begun_us, self.world.now_us
        if self.serving is not None:
            pack = self.world.pack(self.name, self.serving, interval_us)
            self.step(given.Sampled(UNIT, pack))
        self.sample_later()

    # --- what is looked at in the end

    def has_confirmed(self, digest: bytes) -> bool:
        """It serves that version, and memory and disk say that it has confirmed it."""
        state = self.agent.units[UNIT].models[MODEL]
        (record,) = unit_record(self.record, UNIT).models
        is_there = record == state.record and record.outcome is Outcome.CONFIRMED
        return is_there and state.phase is Phase.IDLE and self.serving == digest

    def portrait(self) -> tuple[object, ...]:
        """All that came of what happened to it."""
        held = sorted(self.agent.reports.held), self.agent.reports.next_sequence
        return (self.name, self.serving, self.since_us, sorted(self.blobs), held,
                self.agent.units[UNIT].outgoing, self.agent.clock, self.record.units)  # fmt: skip

    # --- effects

    def persist(self, effect: do.Persist) -> None:
        before, after = unit_record(self.record, UNIT), unit_record(effect.record, UNIT)
        if after.revision < before.revision:
            self.world.broken(f"{self.name}: revision {after.revision} after {before.revision}")
        self.record = effect.record

    def publish(self, effect: do.Publish) -> None:
        self.world.to_controller(self, effect.topic, effect.payload)

    def subscribe(self, effect: do.Subscribe) -> None:
        for topic in effect.topics:
            self.world.to_subscriber(self, topic)

    def survey(self, effect: do.Survey) -> None:
        wanted = tuple(blob.digest for blob in effect.blobs)
        whole = frozenset(digest for digest in wanted if digest in self.blobs)
        contents = {digest: self.world.contents[digest] for digest in whole}
        self.later(
            given.Surveyed(wanted, whole, {}, contents if effect.is_content_wanted else {}, 1 << 30)
        )

    def keep_chunk(self, effect: do.KeepChunk) -> None:
        self.chunks.setdefault(effect.digest, {})[effect.index] = effect.data

    def keep_blob(self, effect: do.KeepBlob) -> None:
        self.blobs.add(effect.digest)

    def finish_blob(self, effect: do.FinishBlob) -> None:
        parts = self.chunks.pop(effect.digest, {})
        data = b"".join(parts[index] for index in sorted(parts))
        is_intact = sha256(data).digest() == effect.digest
        if is_intact:
            self.blobs.add(effect.digest)
        self.later(given.BlobFinished(effect.digest, is_intact))

    def assemble(self, effect: do.Assemble) -> None:
        if not self.blobs.issuperset(blob.digest for blob in effect.manifest.blobs):
            self.world.broken(f"{self.name} assembles what it has not got")
        self.later(given.Assembled(effect.unit, effect.model, effect.manifest_digest))

    def load(self, effect: do.LoadCandidate) -> None:
        digest, contract = effect.slot.manifest_digest, effect.manifest.contract
        self.loaded.add(digest)
        inputs, outputs = tensor_facts(contract.inputs), tensor_facts(contract.outputs)
        memory_bytes = self.world.behaviour_of(digest).memory_bytes
        loaded = given.Loaded(UNIT, effect.model, digest, inputs, outputs, memory_bytes)
        if effect.assignment is not None:
            self.later(loaded)

    def self_test(self, effect: do.SelfTest) -> None:
        digest = effect.manifest_digest
        behaviour, count = (
            self.world.behaviour_of(digest),
            self.world.made[digest].manifest.golden_count,
        )
        passed = 0 if behaviour.is_lying else count
        if passed == count:
            self.proven.add(digest)
        latency_us = behaviour.latency_us
        self.later(given.SelfTested(UNIT, effect.model, digest, passed, count, latency_us))

    def swap(self, effect: do.Swap) -> None:
        digest = effect.manifest_digest
        models = unit_record(self.record, UNIT).models
        known = [slot.manifest_digest for m in models for slot in (m.active, m.previous) if slot]
        if digest is None or digest not in self.proven or digest not in known:
            self.world.broken(f"{self.name} swaps to what it has not tested or not recorded")
        self.serving, self.since_us = digest, self.world.now_us

    def watch(self, _effect: do.WatchTrial) -> None:
        (model,) = unit_record(self.record, UNIT).models
        least_s = 0.0 if model.trial is None else model.trial.limits.trial_s_min
        self.look_us = self.world.now_us + int(least_s * SECOND_US) + SLACK_US
        self.wake_at(self.look_us)

    def unwatch(self, _effect: do.UnwatchTrial) -> None:
        self.look_us = None

    def make_permanent(self, effect: do.MakePermanent) -> None:
        self.loaded &= {effect.manifest_digest, effect.kept}

    def release(self, effect: do.Release) -> None:
        self.loaded.discard(effect.manifest_digest)

    def collect(self, effect: do.Collect) -> None:
        kept = set(effect.manifests)
        for digest in effect.manifests & self.world.made.keys():
            kept |= {blob.digest for blob in self.world.made[digest].manifest.blobs}
        self.blobs &= kept

    def nothing(self, _effect: do.Effect) -> None:
        """It has no consequence for what is measured here."""


DOERS: dict[type[do.Effect], Callable[[LeanDevice, Any], None]] = {
    do.Persist: LeanDevice.persist,
    do.Publish: LeanDevice.publish,
    do.Subscribe: LeanDevice.subscribe,
    do.Unsubscribe: LeanDevice.nothing,
    do.Survey: LeanDevice.survey,
    do.KeepChunk: LeanDevice.keep_chunk,
    do.KeepBlob: LeanDevice.keep_blob,
    do.FinishBlob: LeanDevice.finish_blob,
    do.Collect: LeanDevice.collect,
    do.Assemble: LeanDevice.assemble,
    do.LoadCandidate: LeanDevice.load,
    do.SelfTest: LeanDevice.self_test,
    do.Swap: LeanDevice.swap,
    do.WatchTrial: LeanDevice.watch,
    do.UnwatchTrial: LeanDevice.unwatch,
    do.MakePermanent: LeanDevice.make_permanent,
    do.Release: LeanDevice.release,
    do.Shadow: LeanDevice.nothing,
    do.Configure: LeanDevice.nothing,
    do.Say: LeanDevice.nothing,
}
