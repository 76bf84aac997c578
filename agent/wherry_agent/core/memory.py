"""Memory: what a unit holds loaded, of all its models together, and what gives way.

Rules:
1. What serves stays, and so does the way back of a trial, and one that is assigned again.
2. Whoever is loaded beside counts with the other models of the unit. A candidate is refused where
   there is no room; for an active one every `previous` gives way, its own first, also where its
   model is being updated or waits for its window.
3. After a boot the budget may be another one: each `previous` gives way first, then candidates.
4. A manifest states image and arena; what the kernels prepare is known once a program was loaded,
   and counts from then on. What has no room then is unloaded again; after a boot as by rule 3.

Only of the agent itself: a microcontroller holds one image in its memory.
"""

from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.replacing import replace

from wherry_agent.core import candidates
from wherry_agent.core.acceptance import memory_bytes
from wherry_agent.core.inputs import Loaded
from wherry_agent.core.model import ModelState
from wherry_agent.core.record import Slot
from wherry_agent.core.state import UnitState


def _bytes(unit: UnitState, *slots: Slot | None) -> int:
    """Of different bundles, as far as their manifests are known."""
    digests = {slot.manifest_digest for slot in slots if slot is not None}
    known = [unit.manifests[one] for one in digests if one in unit.manifests]
    return sum(memory_bytes(one, unit.taken_bytes) for one in known)


def _loaded(unit: UnitState, state: ModelState) -> int:
    record = state.record
    return _bytes(unit, record.active, candidates.loaded_previous(record), record.candidate)


def _least(unit: UnitState, state: ModelState) -> int:
    """Without a way back that may give way."""
    record = state.record
    if _yielding(state) is None:
        return _loaded(unit, state)
    return _bytes(unit, record.active, record.candidate)


def _yielding(state: ModelState) -> Slot | None:
    """The loaded way back that may be unloaded: not a trial's, and not one that is assigned."""
    back, assignment = candidates.loaded_previous(state.record), state.assignment
    if back is None or state.phase is Phase.TRIAL:
        return None
    is_assigned = assignment is not None and assignment.manifest_digest == back.manifest_digest
    return None if is_assigned else back


def of_others(unit: UnitState, model: str) -> tuple[int, int]:
    """(bytes that the unit's other models hold, those of them that cannot give way)."""
    others = [state for name, state in unit.models.items() if name != model]
    return sum(_loaded(unit, one) for one in others), sum(_least(unit, one) for one in others)


def giving_way(unit: UnitState, model: str, budget_bytes: int) -> list[tuple[str, bytes]]:
    """(model, digest) of each `previous` that has to be unloaded for this one, its own first."""
    over = _over(unit, budget_bytes)
    found = []
    for name in sorted(unit.models, key=lambda one: one != model):
        state = unit.models[name]
        back = _yielding(state)
        freed = _loaded(unit, state) - _least(unit, state)
        if over > 0 and back is not None and freed:
            found.append((name, back.manifest_digest))
            over -= freed
    return found


def _over(unit: UnitState, budget_bytes: int) -> int:
    return sum(_loaded(unit, one) for one in unit.models.values()) - budget_bytes


def weighed(unit: UnitState, given: Loaded) -> UnitState:
    """Rule 4: what it took is known; the same unit where it was."""
    manifest = unit.manifests.get(given.manifest_digest)
    if manifest is None or memory_bytes(manifest, unit.taken_bytes) == given.memory_bytes:
        return unit
    digests = {one.program_digest for one in unit.manifests.values()}
    kept = {digest: size for digest, size in unit.taken_bytes.items() if digest in digests}
    return replace(unit, taken_bytes={**kept, manifest.program_digest: given.memory_bytes})


def going(unit: UnitState, budget_bytes: int) -> list[tuple[str, bytes]]:
    """(model, digest) of each candidate that has no room any more, once every `previous` went."""
    over = _over(unit, budget_bytes)
    found = []
    for name, state in unit.models.items():
        candidate = state.record.candidate
        if over > 0 and candidate is not None and candidates.is_ready(state.record):
            found.append((name, candidate.manifest_digest))
            over -= _bytes(unit, candidate)
    return found


def booted(unit: UnitState, budget_bytes: int) -> UnitState:
    """Rule 3, before anything is loaded."""
    over = _over(unit, budget_bytes)
    models = dict(unit.models)
    for give_way in (_without_previous, _without_candidate):
        for name, state in models.items():
            if over > 0 and state.phase is Phase.IDLE:
                after = give_way(state)
                over -= _loaded(unit, state) - _loaded(unit, after)
                models[name] = after
    return replace(unit, models=models) if models != unit.models else unit


def _without_previous(state: ModelState) -> ModelState:
    if candidates.loaded_previous(state.record) is None:
        return state
    return replace(state, record=replace(state.record, is_previous_released=True))


def _without_candidate(state: ModelState) -> ModelState:
    record = state.record
    if record.candidate is None or not candidates.is_ready(record):
        return state
    reason = f"{record.candidate.version} has no room any more beside what serves"
    ended = replace(
        record,
        candidate=None,
        shadow_start_count=0,
        outcome=Outcome.REJECTED,
        code=Code.OVER_MEMORY,
        reason=reason,
    )
    return replace(state, record=ended)
