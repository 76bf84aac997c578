"""Candidates: what stands beside the bundle that serves, and how it goes.

Rules:
1. A candidate that is ready stands (`record.candidate`, outcome READY) until an assignment takes
   it in or names anything else, it is released, or it fails. Its failure is its own: what serves
   is not touched.
2. `previous` stays loaded after a confirmation, one pointer away, where the class has the memory
   for both, until it is released or another model needs that memory. Its bytes stay on disk unless
   it is purged.
3. What is active, on trial, or the way back of a trial is never released.
4. A shadow that has not run on one input in three starts is given up: it may be what ends them.

Each function is a rule of `update`: (state, input, surroundings) -> (state, effects).
"""

from wherry_protocol.errors import Code, ContractError
from wherry_protocol.messages.desired import Mode
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.names import SELF
from wherry_protocol.replacing import replace

from wherry_agent.core import acceptance
from wherry_agent.core.effects import Effect, Punish, Release, Remember, Shadow
from wherry_agent.core.inputs import Shadowed, StepFailed
from wherry_agent.core.model import (
    NOT_THE_BUNDLE,
    REASON_MAX,
    MemoryNeeded,
    ModelState,
    Released,
    Result,
    Surroundings,
    slot_of,
    tell_of,
)
from wherry_agent.core.record import ModelRecord, Slot
from wherry_agent.core.state import UnitState


def is_ready(record: ModelRecord) -> bool:
    """A candidate stands that was loaded and tested."""
    return record.candidate is not None and record.outcome is Outcome.READY


def mode_of(record: ModelRecord) -> Mode | None:
    """Warm or shadow, where a candidate is ready."""
    return record.mode if is_ready(record) else None


def loaded_previous(record: ModelRecord) -> Slot | None:
    """The way back, where it is one pointer away."""
    return None if record.is_previous_released else record.previous


def is_previous_loaded(unit: UnitState, record: ModelRecord) -> bool:
    """As `reported` and the local status say it: a microcontroller never has it loaded."""
    return unit.name == SELF and loaded_previous(record) is not None


def stand(state: ModelState, around: Surroundings) -> Result:
    """What is loaded and tested is ready, beside what serves."""
    slot = slot_of(state)
    is_shadow = state.record.mode is Mode.SHADOW
    record = replace(
        state.record, candidate=slot, outcome=Outcome.READY, code=Code.OK, reason="",
        shadow_start_count=0,
    )  # fmt: skip
    word = "runs as a shadow" if is_shadow else "stands warm"
    return ModelState(record=record), (
        Remember(),
        *_run_as_shadow(state.model, slot, record, around),
        tell_of(state, Kind.LOG, Severity.INFO, f"{state.model} {slot.version}: {word}"),
    )


def _run_as_shadow(
    model: str, slot: Slot, record: ModelRecord, around: Surroundings
) -> tuple[Effect, ...]:
    if around.has_two_slots:
        return ()
    if record.mode is Mode.SHADOW:
        return (Shadow(around.unit, model, slot.manifest_digest, record.shadow_sample_bp),)
    return (Shadow(around.unit, model, None),)


def beside(record: ModelRecord) -> tuple[Slot, ...]:
    """What is loaded again after a boot, beside the active bundle."""
    standing = record.candidate if is_ready(record) else None
    return tuple(slot for slot in (loaded_previous(record), standing) if slot is not None)


def shadow_again(unit: str, record: ModelRecord) -> tuple[Effect, ...]:
    """A shadow runs again after a boot."""
    if mode_of(record) is not Mode.SHADOW or record.candidate is None:
        return ()
    digest = record.candidate.manifest_digest
    return (Shadow(unit, record.model, digest, record.shadow_sample_bp),)


def stopped(unit: UnitState) -> UnitState:
    """The agent ends in good order: what runs as a shadow is not to blame."""
    counted = {
        name: replace(state, record=replace(state.record, shadow_start_count=0))
        for name, state in unit.models.items()
        if state.record.shadow_start_count
    }
    return replace(unit, models={**unit.models, **counted}) if counted else unit


def let_go(record: ModelRecord, around: Surroundings) -> tuple[ModelRecord, tuple[Effect, ...]]:
    """Without its candidate, which is unloaded unless another slot holds the same bundle."""
    if record.candidate is None:
        return record, ()
    digest = record.candidate.manifest_digest
    without = replace(record, candidate=None, shadow_start_count=0)
    shadow = (
        (Shadow(around.unit, record.model, None),)
        if record.mode is Mode.SHADOW and not around.has_two_slots
        else ()
    )
    return without, (*shadow, *release_unless_kept(without, digest, around))


def let_go_without_room(
    record: ModelRecord, around: Surroundings
) -> tuple[ModelRecord, tuple[Effect, ...]]:
    """The way back serves now: what stands goes where the memory does not hold both."""
    if not is_ready(record) or around.previous is None or around.candidate is None:
        return record, ()
    try:
        acceptance.check_company(around.candidate, [around.previous], around.fit)
    except ContractError as error:
        without, gone = let_go(record, around)
        reason = str(error)[:REASON_MAX]
        return replace(without, outcome=Outcome.REJECTED, code=error.code, reason=reason), gone
    return record, ()


def release_unless_kept(
    record: ModelRecord, digest: bytes, around: Surroundings
) -> tuple[Effect, ...]:
    """Unload a bundle, but never what serves or may have to."""
    kept = (record.active, loaded_previous(record))
    if any(slot is not None and slot.manifest_digest == digest for slot in kept):
        return ()
    return (Release(around.unit, record.model, digest),)


def heard(state: ModelState, given: StepFailed | Shadowed, around: Surroundings) -> Result:
    """News of a bundle that stands beside the one which serves; of any other it is late."""
    record, digest = state.record, given.manifest_digest
    if is_ready(record) and record.candidate and record.candidate.manifest_digest == digest:
        if isinstance(given, StepFailed):
            return _end(state, given, around)
        if record.shadow_start_count:
            return replace(state, record=replace(record, shadow_start_count=0)), (Remember(),)
    previous = loaded_previous(record)
    is_unloadable = isinstance(given, StepFailed) and given.is_unloadable
    if previous is not None and previous.manifest_digest == digest and is_unloadable:
        return replace(state, record=replace(record, is_previous_released=True)), (Remember(),)
    return state, ()


def _end(state: ModelState, given: StepFailed, around: Surroundings) -> Result:
    """Rule 1."""
    record, effects = let_go(state.record, around)
    ended = replace(
        record, outcome=Outcome.REJECTED, code=given.code, reason=given.text[:REASON_MAX]
    )
    is_its_fault = given.code not in (*NOT_THE_BUNDLE, Code.OVER_MEMORY)
    return replace(state, record=ended), (
        *((Punish(given.manifest_digest),) if is_its_fault else ()),
        Remember(),
        *effects,
        tell_of(state, Kind.REJECTED, Severity.ERROR, given.text, given.code),
    )


def give_way(state: ModelState, given: MemoryNeeded, around: Surroundings) -> Result:
    """Rule 2's end: `previous` is unloaded and stays on disk; what is under way goes on.

    A candidate that stands has no room any more, and is rejected without a penalty.
    """
    candidate, previous = state.record.candidate, loaded_previous(state.record)
    if is_ready(state.record) and candidate and candidate.manifest_digest == given.bundle:
        text = f"{candidate.version} has no room any more beside what serves"
        failed = StepFailed(around.unit, state.model, given.bundle, Code.OVER_MEMORY, text)
        return _end(state, failed, around)
    if previous is None or previous.manifest_digest != given.bundle:
        return state, ()
    text = f"{state.model} {previous.version}: unloaded, its memory is needed for another model"
    released = replace(state, record=replace(state.record, is_previous_released=True))
    return released, (
        Remember(),
        Release(around.unit, state.model, given.bundle),
        tell_of(state, Kind.LOG, Severity.INFO, text),
    )


def release(state: ModelState, given: Released, around: Surroundings) -> Result:
    """Decommission: unload `previous` or a candidate that nobody wants any more."""
    record = state.record
    effects: tuple[Effect, ...] = ()
    if record.candidate and record.candidate.manifest_digest == given.bundle:
        record, effects = let_go(record, around)
        record = replace(record, outcome=Outcome.NONE, assignment_id=None)
    previous = record.previous
    if previous is not None and previous.manifest_digest == given.bundle:
        record = replace(
            record, is_previous_released=True, previous=None if given.is_purged else previous
        )
        effects += (Release(around.unit, state.model, given.bundle),)
    if record == state.record:
        return state, ()
    text = f"{state.model}: {given.bundle.hex()[:12]} is released" + (
        ", and its bytes are deleted" if given.is_purged else ""
    )
    return ModelState(record=record, phase=Phase.IDLE), (
        Remember(),
        *effects,
        tell_of(state, Kind.LOG, Severity.INFO, text),
    )
