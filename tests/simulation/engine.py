"""Twin of the engine's loop: loads real bytes through the real store, counts made-up inferences.

Implements `wherry_agent.shell.runtime.Host`. How long loading and testing take, and what comes
out, is in `models.Behaviour`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Any

from wherry_agent.core.effects import (
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
    Figures,
    Loaded,
    SelfTested,
    Shadowed,
    StepFailed,
    TensorFacts,
)
from wherry_agent.shell.blob_store import BlobStore
from wherry_agent.telemetry.counters import Counters
from wherry_agent.telemetry.shadow import ShadowCounts
from wherry_protocol.errors import Code, WherryError
from wherry_protocol.manifest import Manifest, Role, Tensor
from wherry_protocol.sketch import Sketch, sketch_of

from tests.simulation.models import Behaviour

RATE_PER_S = 20  # inferences of each model
UNIT = "self"


@cache
def _one(latency_us: int) -> Sketch:
    return sketch_of([latency_us * 1000])


def latencies(count: int, latency_us: int) -> Sketch:
    """`count` inferences that took the same time."""
    one = _one(latency_us)
    buckets = dict.fromkeys(one.buckets, count) if count else {}
    return Sketch(count, count * one.sum_ns, one.max_ns if count else 0, buckets)


@dataclass
class Instance:
    """A loaded bundle and what it did so far."""

    manifest: Manifest
    behaviour: Behaviour
    served_us: int = 0  # how long it has served
    since_us: int | None = None  # it serves since then
    packed: int = 0  # inferences that telemetry has told already

    def inferences(self, now_us: int) -> int:
        served_us = self.served_us + (0 if self.since_us is None else now_us - self.since_us)
        return served_us * RATE_PER_S // 1_000_000

    def errors(self, count: int) -> int:
        return int(count * self.behaviour.error_rate)

    def is_dead(self, now_us: int) -> bool:
        crash_s = self.behaviour.crash_after_s
        return crash_s is not None and self.inferences(now_us) >= crash_s * RATE_PER_S

    def pause(self, now_us: int) -> None:
        if self.since_us is not None:
            self.served_us += now_us - self.since_us
            self.since_us = None


@dataclass
class ShadowRun:
    """A loaded bundle that runs after what serves, on so many of 10,000 inputs."""

    digest: bytes
    sample_bp: int
    inputs: int  # of the active one, when it began
    packed: int = 0  # inferences that telemetry has told already
    skipped: int = 0  # and inputs that were not in the sample


@dataclass
class EngineTwin:
    """`serving` is the digest that answers, by model. `confirmed` lists what was made permanent."""

    store: BlobStore
    behaviour_of: Callable[[bytes], Behaviour]
    tell: Callable[[Any], None]
    clock: Callable[[], int]
    loaded: dict[bytes, Instance] = field(default_factory=dict)
    serving: dict[str, bytes | None] = field(default_factory=dict)
    shadows: dict[str, ShadowRun] = field(default_factory=dict)
    watched: dict[str, tuple[bytes, int]] = field(default_factory=dict)  # digest, baseline
    is_isolated: bool = False

    # --- what the runtime asks

    def execute(self, effect: OnUnit) -> None:
        try:
            STEPS[type(effect)](self, effect)
        except WherryError as error:
            self._fail(effect, error.code, str(error))
        except OSError as error:
            self._fail(effect, Code.STORAGE, f"{effect.model}: {error}")

    def is_quick(self, effect: OnUnit) -> bool:
        if not isinstance(effect, Swap) or effect.model not in self.serving:
            return False
        return effect.manifest_digest is None or effect.manifest_digest in self.loaded

    def isolate(self, effect: Isolate) -> None:
        self.is_isolated = effect.is_isolated

    def figures(self) -> list[Figures]:
        return [self._figures(model, *of) for model, of in self.watched.items()]

    def has_trial(self) -> bool:
        return bool(self.watched)

    # --- steps

    def _fail(self, effect: OnUnit, code: Code, text: str) -> None:
        digest = getattr(effect, "manifest_digest", None)
        if isinstance(effect, LoadCandidate):
            digest = effect.slot.manifest_digest
        if digest is not None:
            is_unloadable = isinstance(effect, LoadCandidate)
            self.tell(StepFailed(UNIT, effect.model, digest, code, text, is_unloadable))

    def load(self, effect: LoadCandidate) -> None:
        digest, manifest = effect.slot.manifest_digest, effect.manifest
        image = bytes(self.store.open_image(manifest))
        if sha256(image).digest() != manifest.program_digest:
            raise RuntimeError("the store mapped bytes that it had not hashed")
        behaviour = self.behaviour_of(digest)
        if not behaviour.is_loadable:
            raise WherryError("the loader refuses the program", Code.PROGRAM)
        self.serving.setdefault(effect.model, None)
        self.loaded.setdefault(digest, Instance(manifest, behaviour))
        contract = manifest.contract
        inputs, outputs = tensor_facts(contract.inputs), tensor_facts(contract.outputs)
        self.tell(Loaded(UNIT, effect.model, digest, inputs, outputs, behaviour.memory_bytes))

    def self_test(self, effect: SelfTest) -> None:
        instance = self._instance(effect.manifest_digest)
        for role in (Role.GOLDEN_INPUTS, Role.GOLDEN_OUTPUTS):
            self.store.pieces_of(instance.manifest, role)
        count, behaviour = instance.manifest.golden_count, instance.behaviour
        passed = count - 1 if behaviour.is_lying else count
        latency_us = behaviour.latency_us
        digest = effect.manifest_digest
        self.tell(SelfTested(UNIT, effect.model, digest, passed, count, latency_us))

    def _instance(self, digest: bytes) -> Instance:
        if digest not in self.loaded:
            raise WherryError("its bundle is not loaded", Code.FAILED)
        return self.loaded[digest]

    def swap(self, effect: Swap) -> None:
        digest, now_us = effect.manifest_digest, self.clock()
        if digest is not None:
            self._instance(digest)
        before = self.serving.get(effect.model)
        if digest is not None and digest == self._shadow_of(effect.model):
            del self.shadows[effect.model]
        if before is not None and before in self.loaded:
            self.loaded[before].pause(now_us)
        self.serving[effect.model] = digest
        if digest is not None:
            self.loaded[digest].since_us = now_us

    def watch(self, effect: WatchTrial) -> None:
        done = self._instance(effect.manifest_digest).inferences(self.clock())
        self.watched[effect.model] = (effect.manifest_digest, done)

    def unwatch(self, effect: UnwatchTrial) -> None:
        self.watched.pop(effect.model, None)

    def make_permanent(self, effect: MakePermanent) -> None:
        kept = (effect.manifest_digest, effect.kept)
        for digest in [one for one in self.loaded if one not in kept]:
            self._forget(effect.model, digest)

    def release(self, effect: Release) -> None:
        self._forget(effect.model, effect.manifest_digest)

    def shadow(self, effect: Shadow) -> None:
        """As the loop does: what serves already is no shadow any more."""
        self.shadows.pop(effect.model, None)
        digest, serving = effect.manifest_digest, self.serving.get(effect.model)
        if digest is None or serving is None or digest == serving:
            return
        self._instance(digest)
        inputs = self.loaded[serving].inferences(self.clock())
        self.shadows[effect.model] = ShadowRun(digest, effect.sample_bp, inputs)

    def _shadow_of(self, model: str) -> bytes | None:
        return self.shadows[model].digest if model in self.shadows else None

    def _forget(self, model: str, digest: bytes) -> None:
        if digest == self._shadow_of(model):
            del self.shadows[model]
        if self.serving.get(model) != digest:
            self.loaded.pop(digest, None)

    # --- figures

    def _figures(self, model: str, digest: bytes, baseline: int) -> Figures:
        instance, now_us = self.loaded[digest], self.clock()
        count = max(0, instance.inferences(now_us) - baseline)
        errors = instance.errors(count)
        latency_us = instance.behaviour.latency_us
        return Figures(
            UNIT, model, digest, count - errors, errors, float(latency_us), latency_us, None,
            instance.is_dead(now_us),
        )  # fmt: skip

    def counted(self, digest: bytes) -> Counters:
        """What a loaded bundle did since it was asked last."""
        instance = self.loaded[digest]
        total = instance.inferences(self.clock())
        count = total - instance.packed
        errors = instance.errors(total) - instance.errors(instance.packed)
        instance.packed = total
        latency = latencies(count, instance.behaviour.latency_us)
        return Counters(inferences=count, errors=errors, errors_engine=errors, latency=latency)

    def shadowed(self, model: str) -> tuple[bytes, Counters, ShadowCounts] | None:
        """What the model's shadow did since it was asked last; a crash of it is told."""
        run, serving = self.shadows.get(model), self.serving.get(model)
        if run is None or serving is None or self.is_isolated:
            return None
        instance, active = self.loaded[run.digest], self.loaded[serving]
        inputs = max(0, active.inferences(self.clock()) - run.inputs)
        total = inputs * run.sample_bp // 10_000
        behaviour, before = instance.behaviour, run.packed
        crash_s = behaviour.crash_after_s
        if crash_s is not None and total >= crash_s * RATE_PER_S:
            text = f"{model}: it crashed as a shadow, after {total} inputs"
            self.tell(StepFailed(UNIT, model, run.digest, Code.ENGINE_CRASH, text))
            return None
        if total and not before:
            self.tell(Shadowed(UNIT, model, run.digest))
        run.packed, count = total, total - before
        errors = instance.errors(total) - instance.errors(before)
        agreed = int(total * behaviour.agreement) - int(before * behaviour.agreement)
        skipped, run.skipped = inputs - total - run.skipped, inputs - total
        primary = latencies(count, active.behaviour.latency_us)
        counts = ShadowCounts(
            compared=count, agreed=agreed, agreed_argmax=agreed, agreed_tolerance=agreed,
            skipped_sampling=skipped, primary_latency=primary,
        )  # fmt: skip
        latency = latencies(count, behaviour.latency_us)
        done = Counters(inferences=count, errors=errors, errors_range=errors, latency=latency)
        return run.digest, done, counts


def tensor_facts(tensors: tuple[Tensor, ...]) -> tuple[TensorFacts, ...]:
    return tuple(
        TensorFacts(int(t.dtype), t.shape, t.scale, t.zero_point, 1 * _count(t.shape))
        for t in tensors
    )


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for dim in shape:
        total *= dim
    return total


STEPS: dict[type, Callable[[EngineTwin, Any], None]] = {
    LoadCandidate: EngineTwin.load,
    SelfTest: EngineTwin.self_test,
    Swap: EngineTwin.swap,
    WatchTrial: EngineTwin.watch,
    UnwatchTrial: EngineTwin.unwatch,
    MakePermanent: EngineTwin.make_permanent,
    Release: EngineTwin.release,
    Shadow: EngineTwin.shadow,
}
