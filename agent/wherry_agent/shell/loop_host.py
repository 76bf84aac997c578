"""The unit `self`: models in inference loops of this process.

Rules:
1. One loop (a C thread) per model. A bundle is loaded beside the one that serves; `swap` is one
   pointer between two inferences, and no input is dropped by it.
2. What is mapped was hashed (`BlobStore.open_image`), and never written to again.
3. The previous bundle stays loaded while a trial may return to it.
4. Golden vectors run in an arena of their own: what serves is not disturbed.
5. A shadow runs after the active bundle on the same inputs, and on none while another bundle
   stands in. Its first error ends it; what serves is not touched.
6. While a breaker is open another bundle answers for the active one, or nothing does; every swap
   ends that. What comes of each inference is told, failures at once.

Used by two threads: one executes effects, any may ask (`serving`, `infer`).
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from wherry_native.engine import EngineError, Program, TensorInfo
from wherry_native.loop import Disagreement, Hold, Instance, Loop
from wherry_protocol.errors import Code, WherryError
from wherry_protocol.manifest import Contract, DType, Manifest, StatePolicy

from wherry_agent.core.effects import (
    Divert,
    Effect,
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
    Diverted,
    Figures,
    FromUnit,
    Loaded,
    Ran,
    SelfTested,
    Shadowed,
    StepFailed,
    TensorFacts,
)
from wherry_agent.core.record import Slot
from wherry_agent.shell import golden
from wherry_agent.shell.blob_store import BlobStore, sha256
from wherry_agent.shell.disk import Image
from wherry_agent.shell.inference_door import Inference, Serving
from wherry_agent.shell.outcomes import is_good, latest
from wherry_agent.shell.swapping import set_shadow, swap
from wherry_agent.telemetry.counters import Counters, counters_of
from wherry_agent.telemetry.energy import EnergyFigure, Unavailable
from wherry_agent.telemetry.sampling import ACTIVE, PREVIOUS, SHADOW, Look, trial_figures
from wherry_agent.telemetry.shadow import counts_of

DTYPES: Final = {"int8": DType.INT8, "int16": DType.INT16, "int32": DType.INT32}


class TrialEnergy(Protocol):
    """What a trial's inferences cost; asked between `begin` and the trial's end."""

    def begin(self, model: str) -> None: ...

    def figure(self, model: str, key: str) -> EnergyFigure | Unavailable: ...


class NoEnergy:
    """Nothing is known."""

    def begin(self, model: str) -> None: ...

    def figure(self, model: str, key: str) -> EnergyFigure | Unavailable:  # noqa: ARG002  (unknown)
        return Unavailable("energy is not metered")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded bundle. `number` tags its outputs."""

    number: int
    slot: Slot
    manifest: Manifest
    image: Image  # what was hashed and mapped, and runs
    program: Program
    instance: Instance

    @property
    def key(self) -> str:
        """Never used again: a bundle that is loaded again counts from 0 under a new key."""
        return str(self.number)


@dataclass(slots=True)
class ModelLoop:
    """One model's loop and what is loaded for it; `active` is a manifest digest.

    While `is_diverted`, `fallback` answers for the active bundle (None: nothing does).
    """

    loop: Loop
    bundles: dict[bytes, Bundle] = field(default_factory=dict)
    active: bytes | None = None
    is_diverted: bool = False
    fallback: bytes | None = None
    watched: bytes | None = None
    baseline: Counters = field(default_factory=Counters)
    shadow: bytes | None = None  # runs after the active bundle while that answers itself
    sample_bp: int = 0
    session: int = 0  # of the shadow's counts, which begin anew each time that it is set
    is_shadow_told: bool = False
    served: Bundle | None = None  # what the loop was last pointed to
    ended_count: int = 0  # inputs answered or withdrawn at the last `has_worked`

    @property
    def answering(self) -> Bundle | None:
        """The bundle that answers inputs, were the unit not isolated."""
        digest = self.fallback if self.is_diverted else self.active
        return None if digest is None else self.bundles[digest]

    @property
    def shadowing(self) -> Bundle | None:
        """The bundle that runs as a shadow: not beside one that only stands in."""
        if self.shadow is None or self.active is None or self.is_diverted:
            return None
        return self.bundles.get(self.shadow)


class LoopHost:
    """Executes unit effects on local loops; `tell` takes the answers."""

    def __init__(
        self, unit: str, store: BlobStore, tell: Callable[[FromUnit], None], queue_capacity: int
    ) -> None:
        self.unit = unit
        self.is_isolated = False
        self._store = store
        self._tell = tell
        self._queue_capacity = queue_capacity
        self._lock = threading.RLock()
        self._models: dict[str, ModelLoop] = {}
        self._by_number: dict[int, Bundle] = {}
        self._next_number = 1
        self.energy: TrialEnergy = NoEnergy()
        self.loading: Callable[[str, Contract, Instance], None] = lambda *_: None
        self.swapped: Callable[[str, Loop, Bundle | None], None] = lambda *_: None
        self.closing: Callable[[Look], None] = lambda _look: None
        self._steps: Mapping[type[Effect], Callable[..., None]] = {
            LoadCandidate: self._load,
            SelfTest: self._self_test,
            Swap: self._swap,
            WatchTrial: self._watch,
            UnwatchTrial: self._unwatch,
            MakePermanent: self._make_permanent,
            Release: self._release,
            Divert: self._divert,
            Shadow: self._shadow,
        }

    # --- effects

    def execute(self, effect: OnUnit) -> None:
        """Do it; whatever goes wrong is told as StepFailed."""
        try:
            self._steps[type(effect)](effect)
        except EngineError as error:
            self._fail(effect, Code.PROGRAM, str(error))
        except WherryError as error:
            self._fail(effect, error.code, str(error))
        except OSError as error:
            self._fail(effect, Code.STORAGE, f"{effect.model}: {error}")

    def _fail(self, effect: OnUnit, code: Code, text: str) -> None:
        digest = getattr(effect, "manifest_digest", None)
        if isinstance(effect, LoadCandidate):
            digest = effect.slot.manifest_digest
        if digest is not None:
            is_unloadable = isinstance(effect, LoadCandidate)
            self._tell(StepFailed(self.unit, effect.model, digest, code, text, is_unloadable))

    def is_quick(self, effect: OnUnit) -> bool:
        """True where the effect needs no loading, so that it need not wait for any."""
        if not isinstance(effect, Swap):
            return False
        with self._lock:
            model = self._models.get(effect.model)
            return model is not None and (
                effect.manifest_digest is None or effect.manifest_digest in model.bundles
            )

    def isolate(self, effect: Isolate) -> None:
        """Take every model out of its loop, or put it back."""
        with self._lock:
            self.is_isolated = effect.is_isolated
            for model in self._models.values():
                self._point(model)

    def _model(self, name: str) -> ModelLoop:
        with self._lock:
            if name not in self._models:
                loop = Loop(self._queue_capacity)
                loop.start()
                self._models[name] = ModelLoop(loop)
            return self._models[name]

    def _load(self, effect: LoadCandidate) -> None:
        model = self._model(effect.model)
        digest = effect.slot.manifest_digest
        loaded = model.bundles.get(digest)
        if loaded is None or loaded.slot.deadline_us != effect.slot.deadline_us:
            bundle = self._open(effect.slot, effect.manifest)
            with self._lock:
                kept = model.bundles.get(digest)
                if kept is None or model.active != digest:
                    model.bundles[digest] = bundle
                    self._by_number[bundle.number] = bundle
        program = model.bundles[digest].program
        memory_bytes = model.bundles[digest].instance.memory_bytes
        inputs, outputs = _facts(program.inputs), _facts(program.outputs)
        self._tell(Loaded(self.unit, effect.model, digest, inputs, outputs, memory_bytes))

    def _open(self, slot: Slot, manifest: Manifest) -> Bundle:
        image = self._store.open_image(manifest)
        program = Program(image)
        number = self._new_number()
        valid_min, valid_max = _valid_range(manifest.contract)
        instance = Instance(
            program,
            tag=number,
            deadline_us=slot.deadline_us,
            valid_min=valid_min,
            valid_max=valid_max,
        )
        self.loading(manifest.model, manifest.contract, instance)
        return Bundle(number, slot, manifest, image, program, instance)

    def _new_number(self) -> int:
        with self._lock:
            number = self._next_number
            self._next_number += 1
        return number

    def _self_test(self, effect: SelfTest) -> None:
        bundle = self._model(effect.model).bundles.get(effect.manifest_digest)
        if bundle is None:
            raise WherryError(f"{effect.model}: its bundle is not loaded", Code.FAILED)
        passed, count, p95_us = self.run_golden(bundle)
        self._tell(
            SelfTested(self.unit, effect.model, effect.manifest_digest, passed, count, p95_us)
        )

    def run_golden(self, bundle: Bundle) -> tuple[int, int, int]:
        """(passed, count, p95 latency in µs) of the golden vectors, each run at least once."""
        return golden.run(self._store, bundle.manifest, bundle.program)

    def _swap(self, effect: Swap) -> None:
        model = self._model(effect.model)
        with self._lock:
            digest = effect.manifest_digest
            if digest is not None and digest not in model.bundles:
                raise WherryError(f"{effect.model}: its bundle is not loaded", Code.FAILED)
            self._prepare(model, digest)
            model.active = digest
            was_for, model.is_diverted, model.fallback = model.fallback, False, None
            self._point(model)
        if was_for is not None:
            self._forget(model, was_for)
        self.swapped(effect.model, model.loop, self.active(effect.model))

    def _prepare(self, model: ModelLoop, digest: bytes | None) -> None:
        """Recurrent state begins anew, unless it was warmed up as a shadow and carries over."""
        bundle = None if digest is None else model.bundles[digest]
        was_shadow = model.shadow is not None and model.shadow == digest
        if was_shadow:
            self._end_shadow(model)
        if bundle is None or model.loop.active is bundle.instance:
            return
        if not was_shadow or bundle.manifest.state_policy is not StatePolicy.WARM_UP:
            bundle.instance.reset()

    def _shadow(self, effect: Shadow) -> None:
        model = self._model(effect.model)
        digest = effect.manifest_digest
        with self._lock:
            if digest is not None and digest not in model.bundles:
                raise WherryError(f"{effect.model}: its bundle is not loaded", Code.FAILED)
            if digest is not None and digest == model.active:
                return  # it was switched in before this came
            self._end_shadow(model)
            model.shadow, model.sample_bp = digest, effect.sample_bp
            self._point(model)

    def _end_shadow(self, model: ModelLoop) -> None:
        self._stop_shadow(model)
        model.shadow = None

    def _stop_shadow(self, model: ModelLoop) -> None:
        """It runs no more, for now or for good; what it counted up to here is told."""
        running = model.loop.shadow
        if running is None:
            return
        kept = tuple(model.loop.take_disagreements())
        model.loop.set_shadow(None)
        bundle = None if model.shadow is None else model.bundles.get(model.shadow)
        if bundle is not None and bundle.instance is running:
            self.closing(replace(self._shadow_look(model, bundle), disagreements=kept))

    def _divert(self, effect: Divert) -> None:
        model = self._model(effect.model)
        latest(model.loop, self._digest_of)  # what came before is over
        with self._lock:
            if model.active != effect.manifest_digest:
                return
            model.fallback = effect.fallback if effect.fallback in model.bundles else None
            model.is_diverted = effect.is_diverted
            self._point(model)
        if effect.is_diverted:
            told = Diverted(self.unit, effect.model, effect.manifest_digest, model.fallback)
            self._tell(told)
        self.swapped(effect.model, model.loop, model.answering)

    def _point(self, model: ModelLoop) -> None:
        """One pointer: the loop serves what is active, or nothing while isolated."""
        answering = None if self.is_isolated else model.answering
        wanted = None if answering is None else answering.instance
        shadow = None if self.is_isolated else model.shadowing
        if shadow is None:
            self._stop_shadow(model)
        if model.loop.active is not wanted:
            swap(model.loop, model.served, answering)
            model.served = answering
        if shadow is not None and model.loop.shadow is not shadow.instance:
            set_shadow(model.loop, shadow, model.sample_bp)
            model.session, model.is_shadow_told = self._new_number(), False

    def _watch(self, effect: WatchTrial) -> None:
        model = self._model(effect.model)
        bundle = model.bundles.get(effect.manifest_digest)
        if bundle is None:
            raise WherryError(f"{effect.model}: its bundle is not loaded", Code.FAILED)
        model.baseline = counters_of(bundle.instance.stats())
        model.watched = effect.manifest_digest
        self.energy.begin(effect.model)

    def _unwatch(self, effect: UnwatchTrial) -> None:
        self._model(effect.model).watched = None

    def _make_permanent(self, effect: MakePermanent) -> None:
        model = self._model(effect.model)
        kept = (effect.manifest_digest, effect.kept)
        for digest in [one for one in model.bundles if one not in kept]:
            self._forget(model, digest)

    def _release(self, effect: Release) -> None:
        self._forget(self._model(effect.model), effect.manifest_digest)

    def _forget(self, model: ModelLoop, digest: bytes) -> None:
        with self._lock:
            if digest in (model.active, model.fallback):
                return
            bundle = model.bundles.get(digest)
            if bundle is None:
                return
            if digest == model.shadow:
                self._end_shadow(model)
            last = self._look(model, bundle)
            del model.bundles[digest]
            self._by_number.pop(bundle.number, None)
        self.closing(last)

    # --- questions

    def figures(self) -> list[Figures]:
        """What every watched trial did since its swap."""
        with self._lock:
            watched = [
                (name, model, model.bundles[model.watched])
                for name, model in self._models.items()
                if model.watched is not None and model.watched in model.bundles
            ]
        return [self._figures(name, model, bundle) for name, model, bundle in watched]

    def _figures(self, name: str, model: ModelLoop, bundle: Bundle) -> Figures:
        energy = self.energy.figure(name, bundle.key)
        return trial_figures(self.unit, _look(bundle, ACTIVE), model.baseline, energy)

    def has_trial(self) -> bool:
        return any(model.watched is not None for model in list(self._models.values()))

    def models(self) -> tuple[str, ...]:
        """Models that serve (or would, were the unit not isolated)."""
        with self._lock:
            return tuple(sorted(n for n, m in self._models.items() if m.active is not None))

    def active(self, name: str) -> Bundle | None:
        """The active bundle; while its breaker is open another one may answer for it."""
        with self._lock:
            model = self._models.get(name)
            if model is None or model.active is None:
                return None
            return model.bundles[model.active]

    def loaded(self, name: str, digest: bytes | None) -> Bundle | None:
        """The bundle of that digest if it is loaded; without one, the active bundle."""
        if digest is None:
            return self.active(name)
        with self._lock:
            model = self._models.get(name)
            return None if model is None else model.bundles.get(digest)

    def looks(self) -> list[Look]:
        """Everything loaded and what it counted so far, for telemetry."""
        with self._lock:
            found = [(m, bundle) for m in self._models.values() for bundle in m.bundles.values()]
            return [self._look(model, bundle) for model, bundle in found]

    def _look(self, model: ModelLoop, bundle: Bundle) -> Look:
        """Under the lock: a shadow stays one meanwhile."""
        if model.loop.shadow is bundle.instance:
            return self._shadow_look(model, bundle)
        is_active = bundle.slot.manifest_digest == model.active
        return _look(bundle, ACTIVE if is_active else PREVIOUS)

    def _shadow_look(self, model: ModelLoop, bundle: Bundle) -> Look:
        counts = counts_of(model.loop.shadow_stats())
        key = f"{bundle.key}.{model.session}"
        return replace(_look(bundle, SHADOW), shadow=counts, shadow_key=key)

    def disagreements(self) -> dict[str, tuple[Disagreement, ...]]:
        """The few that were kept since the last call, by the key of the shadow's bundle."""
        with self._lock:
            return {
                bundle.key: tuple(model.loop.take_disagreements())
                for model in self._models.values()
                if (bundle := model.shadowing) is not None
            }

    def hold_shadows(self, holds: Mapping[str, Hold]) -> None:
        """Each model's shadow runs no more, or again."""
        with self._lock:
            for name, hold in holds.items():
                self._models[name].loop.hold_shadow(hold)

    def look_at_shadows(self) -> None:
        """Tell the first input that a shadow ran on, and its first error, which ends it."""
        with self._lock:
            for name, model in self._models.items():
                bundle = model.shadowing
                if bundle is not None and model.loop.shadow is bundle.instance:
                    self._look_at_shadow(name, model, bundle)

    def _look_at_shadow(self, name: str, model: ModelLoop, bundle: Bundle) -> None:
        stats, digest = model.loop.shadow_stats(), bundle.slot.manifest_digest
        if stats.errors:
            self._end_shadow(model)
            text = (
                f"{name} {bundle.manifest.version}: {stats.error_name} as a shadow, "
                f"after {stats.compared} inputs; what serves is not touched"
            )
            self._tell(StepFailed(self.unit, name, digest, Code.ENGINE_CRASH, text))
        elif stats.compared and not model.is_shadow_told:
            model.is_shadow_told = True
            self._tell(Shadowed(self.unit, name, digest))

    def serving(self, name: str) -> Serving | None:
        """Who answers; the active bundle's own contract also where only its safe output does."""
        with self._lock:
            model = self._models.get(name)
            if model is None or model.active is None:
                return None
            return _serving(model.answering or model.bundles[model.active], model)

    def is_silenced(self, name: str) -> bool:
        """True while the model's breaker is open and no other bundle answers for it."""
        with self._lock:
            model = self._models.get(name)
            return model is not None and model.is_diverted and model.fallback is None

    def look_at_outcomes(self) -> None:
        """Tell what came of the inferences since the last look, of models without a trial."""
        for name, model in list(self._models.items()):
            self._look_at_outcomes(name, model)

    def _look_at_outcomes(self, name: str, model: ModelLoop) -> None:
        with self._lock:  # so that what is taken first is told first
            found = latest(model.loop, self._digest_of)
            outcomes = found.get(model.active or b"")
            is_guarded = model.watched is None and not model.is_diverted
            if outcomes and is_guarded and model.active is not None:
                self._tell(Ran(self.unit, name, model.active, outcomes))

    def _digest_of(self, number: int) -> bytes | None:
        bundle = self._by_number.get(number)
        return None if bundle is None else bundle.slot.manifest_digest

    def infer(self, name: str, data: bytes, timeout_s: float) -> Inference:
        """One input through the loop. Raises TimeoutError, WherryError(OVERLOADED | NOT_FOUND)."""
        with self._lock:
            model = self._models.get(name)
        if model is None:
            raise WherryError(f"no model {name} here", Code.NOT_FOUND)
        try:
            output = model.loop.infer(data, timeout_s)
        except EngineError as error:
            if error.name == "WH_ERR_TIMEOUT":
                raise TimeoutError(f"{name}: no answer within {timeout_s} s") from error
            raise WherryError(f"{name}: {error}", Code.OVERLOADED) from error
        if not is_good(output):
            self._look_at_outcomes(name, model)
        made_by = self._by_number.get(output.tag)
        return Inference(
            status=output.status,
            status_name=output.status_name,
            output=output.output,
            latency_ns=output.latency_ns,
            serving=None if made_by is None else _serving(made_by, model),
            is_deadline_missed=output.is_deadline_missed,
            is_out_of_range=output.is_out_of_range,
        )

    def is_intact(self, bundle: Bundle) -> bool:
        """Does what runs still hash to what was signed?"""
        return sha256(bundle.image) == bundle.manifest.program_digest

    def has_worked(self) -> bool:
        """False where a loop holds inputs and has answered none since the last call: it hangs."""
        with self._lock:
            models = list(self._models.values())
        answered = [_has_answered(model) for model in models]  # every one is asked
        return all(answered)

    def arena_bytes(self) -> int:
        """Images, prepared weights and arenas of everything that is loaded."""
        with self._lock:
            bundles = [bundle for m in self._models.values() for bundle in m.bundles.values()]
        return sum(bundle.instance.memory_bytes for bundle in bundles)

    def stop(self) -> None:
        """End every loop; what is queued is answered."""
        for model in self._models.values():
            model.loop.stop()


def _has_answered(model: ModelLoop) -> bool:
    stats = model.loop.stats()
    ended = stats.answered + stats.withdrawn
    is_stuck = stats.accepted > ended and ended == model.ended_count
    model.ended_count = ended
    return not is_stuck


def _serving(bundle: Bundle, model: ModelLoop) -> Serving:
    manifest = bundle.manifest
    digest = bundle.slot.manifest_digest
    slot = PREVIOUS if digest == model.fallback else ACTIVE
    return Serving(manifest.model, manifest.version, digest, slot, manifest.contract)


def _look(bundle: Bundle, slot: str) -> Look:
    return Look(
        key=bundle.key,
        model=bundle.manifest.model,
        version=bundle.manifest.version,
        slot=slot,
        manifest_digest=bundle.slot.manifest_digest,
        counters=counters_of(bundle.instance.stats()),
    )


def _facts(tensors: tuple[TensorInfo, ...]) -> tuple[TensorFacts, ...]:
    return tuple(
        TensorFacts(int(DTYPES[t.dtype]), tuple(t.shape), t.scale, t.zero_point, t.size_bytes)
        for t in tensors
    )


def _valid_range(contract: Contract) -> tuple[int | None, int | None]:
    """Both bounds or neither, as the loop wants them."""
    if contract.valid_min is None and contract.valid_max is None:
        return None, None
    low = -32_768 if contract.valid_min is None else contract.valid_min
    high = 32_767 if contract.valid_max is None else contract.valid_max
    return low, high
