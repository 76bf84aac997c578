"""Installs: model machines, the transfer and the disk, joined.

Rules:
1. An assignment begins when it is new (by its id), the unit is neither stopped nor isolated, and
   its bundle's penalty is over. Otherwise it waits, and `reported` says why.
2. A bundle is planned in two rounds: its manifest, then its blobs. Each round surveys the disk
   first; what is there is not fetched again.
3. A transfer without progress lets go and begins again after a growing, jittered wait.
4. Bytes on disk that do not hash to their digest are fetched once more, then the bundle is
   rejected.
"""

from collections.abc import Mapping
from typing import Final, TypeVar

from wherry_protocol import blobs as sealed_blobs
from wherry_protocol.blobs import chunk_count, chunk_size
from wherry_protocol.errors import Code, WherryError
from wherry_protocol.hardware import HardwareClass
from wherry_protocol.messages.desired import Assignment, Mode, assignment_id
from wherry_protocol.messages.limits import ASSIGNMENTS_MAX
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.names import SELF
from wherry_protocol.replacing import replace

from wherry_agent.core import guarding, memory, penalty, update
from wherry_agent.core import transfer as transfers
from wherry_agent.core.acceptance import Fit
from wherry_agent.core.effects import (
    Collect,
    Effect,
    Fetch,
    FinishBlob,
    Forgive,
    LoadCandidate,
    Punish,
    Remember,
    StopFetching,
    Survey,
    Swap,
    Tell,
    Wanted,
)
from wherry_agent.core.inputs import (
    BlobFinished,
    FromUnit,
    Input,
    Loaded,
    StepFailed,
    StoreFailed,
    Surveyed,
)
from wherry_agent.core.model import (
    UNDER_WAY,
    Assigned,
    BlobsArrived,
    BlobsFinished,
    BlobsSurveyed,
    Dropped,
    ManifestArrived,
    MemoryNeeded,
    ModelState,
    Released,
    Surroundings,
    TransferFailed,
)
from wherry_agent.core.record import ModelRecord
from wherry_agent.core.state import Plan, UnitState, Waiting, kept_bundles
from wherry_agent.core.transfer import Arrived, Want
from wherry_agent.core.turn import Turn
from wherry_agent.core.window import When

T = TypeVar("T")
SECOND_US: Final = 1_000_000
RETRY_FIRST_S: Final = 5
RETRY_LONGEST_S: Final = 900
BLOB_RETRIES_MAX: Final = 1


# --- assignments


def assign(turn: Turn, unit_name: str, assignment: Assignment) -> None:
    """Follow an assignment of a believed document, now or when it may begin."""
    unit = _with_room(turn.unit(unit_name), assignment.model)
    if assignment.model not in unit.models and len(unit.models) >= ASSIGNMENTS_MAX:
        text = f"{assignment.model}: the unit holds {ASSIGNMENTS_MAX} models, which is the limit"
        turn.refuse(text, Code.OUT_OF_BOUNDS, unit_name)
        return
    state = unit.models.get(assignment.model, _new_model(assignment.model))
    if state.record.assignment_id == assignment_id(assignment):
        return  # a refreshed document: known, under way or answered
    unit = replace(unit, models={**unit.models, assignment.model: state})
    waiting = unit.waiting.get(assignment.model)
    if waiting is not None and assignment_id(waiting.assignment) == assignment_id(assignment):
        turn.put(unit)
        return
    turn.put(replace(unit, waiting=_without(unit.waiting, assignment.model)))
    turn.touch(unit_name)
    obstacle = _obstacle(turn, unit, state, assignment)
    if obstacle is None:
        step_model(turn, unit_name, assignment.model, Assigned(assignment))
        return
    if state.phase in UNDER_WAY:
        step_model(turn, unit_name, assignment.model, Dropped(Code.OK, ""))
    _wait(turn, unit_name, obstacle)


def _with_room(unit: UnitState, model: str) -> UnitState:
    """Models of which nothing is left make room for a new one, if it needs any."""
    if model in unit.models or len(unit.models) < ASSIGNMENTS_MAX:
        return unit
    kept = {
        name: state
        for name, state in unit.models.items()
        if state.record.active or state.record.candidate or state.phase is not Phase.IDLE
    }
    return replace(unit, models=kept)


def _new_model(model: str) -> ModelState:
    return ModelState(record=ModelRecord(model=model))


def _obstacle(
    turn: Turn, unit: UnitState, state: ModelState, assignment: Assignment
) -> Waiting | None:
    """Why the assignment may not begin now, if anything forbids it."""
    never_us = turn.now_us + (1 << 62)
    if turn.agent.is_stopped:
        return Waiting(assignment, never_us, Code.STOPPED, "updates are stopped everywhere")
    if unit.memory.is_isolated:
        return Waiting(assignment, never_us, Code.STOPPED, "the unit is isolated")
    now_s = turn.now_s
    if now_s is None:
        text = "the director has not answered with the time yet"
        return Waiting(assignment, never_us, Code.TIME_UNKNOWN, text)
    wait_s = penalty.remaining_s(unit.penalties, assignment.manifest_digest, now_s)
    if wait_s > 0:
        text = f"the bundle failed here before; the next try begins in {wait_s} s"
        return Waiting(assignment, turn.now_us + wait_s * SECOND_US, Code.PENALTY, text)
    if state.phase is Phase.TRIAL and _is_for_beside(state, assignment):
        text = "what serves is on trial; a candidate is loaded when that has ended"
        return Waiting(assignment, never_us, Code.CONFLICT, text)
    return None


def _is_for_beside(state: ModelState, assignment: Assignment) -> bool:
    """A candidate must not end the trial of what serves."""
    active = state.record.active
    is_other = active is None or active.manifest_digest != assignment.manifest_digest
    return is_other and assignment.mode is not Mode.ACTIVE


def _wait(turn: Turn, unit_name: str, waiting: Waiting) -> None:
    unit = turn.unit(unit_name)
    waits = {**unit.waiting, waiting.assignment.model: waiting}
    turn.put(replace(unit, waiting=waits))
    turn.touch(unit_name)


def begin_due(turn: Turn) -> None:
    """Begin whatever has waited long enough."""
    for name in list(turn.agent.units):
        due = [one for one in turn.unit(name).waiting.values() if turn.now_us >= one.until_us]
        for waiting in due:
            unit = turn.unit(name)
            model = waiting.assignment.model
            turn.put(replace(unit, waiting=_without(unit.waiting, model)))
            assign(turn, name, waiting.assignment)


def halt(turn: Turn, unit_name: str, code: Code, text: str) -> None:
    """Let go of every install that is under way on the unit; trials go on."""
    for model, state in list(turn.unit(unit_name).models.items()):
        if state.phase in UNDER_WAY and state.assignment is not None:
            assignment = state.assignment
            step_model(turn, unit_name, model, Dropped(code, text))
            never_us = turn.now_us + (1 << 62)
            _wait(turn, unit_name, Waiting(assignment, never_us, code, text))


def resume(turn: Turn, unit_name: str) -> None:
    """Try everything that waits again: a stop or an isolation has ended."""
    for waiting in list(turn.unit(unit_name).waiting.values()):
        unit = turn.unit(unit_name)
        turn.put(replace(unit, waiting=_without(unit.waiting, waiting.assignment.model)))
        assign(turn, unit_name, waiting.assignment)


# --- one model's machine


def step_model(turn: Turn, unit_name: str, model: str, given: Input) -> None:
    """Give one input to one model and resolve what it asks for."""
    unit = turn.unit(unit_name)
    before = unit.models[model]
    after, effects = update.step(before, given, _surroundings(turn, unit, model))
    if not effects and (after is before or after == before):
        return
    unit = replace(unit, models={**unit.models, model: after})
    turn.put(_with_manifests(unit, after))
    if unit_name == SELF and any(isinstance(effect, LoadCandidate) for effect in effects):
        _make_room(turn, model)
    for effect in effects:
        _resolve(turn, unit_name, effect)
    is_outcome = after.record.outcome is not before.record.outcome
    turn.touch(unit_name, is_urgent=is_outcome or after.phase is not before.phase)
    _clean_up(turn, unit_name, before, after)
    is_unanswered = after.phase is Phase.IDLE and after.record.outcome is Outcome.NONE
    if isinstance(given, (TransferFailed, StepFailed)) and is_unanswered:
        _retry_later(turn, unit_name, before.assignment, given)


def _make_room(turn: Turn, model: str) -> None:
    """For what is loaded next, or was: ways back give way to it."""
    budget_bytes = class_of(turn, SELF).memory_budget_bytes
    for other, digest in memory.giving_way(turn.unit(SELF), model, budget_bytes):
        step_model(turn, SELF, other, MemoryNeeded(digest))


def loaded(turn: Turn, given: Loaded) -> None:
    """A bundle was loaded, and what it took of the memory is known."""
    before = turn.agent.units.get(given.unit)
    if given.unit != SELF or before is None or given.model not in before.models:
        from_unit(turn, given)
        return
    turn.put(memory.weighed(before, given))
    from_unit(turn, given)
    if turn.unit(SELF).taken_bytes == before.taken_bytes:
        return
    _make_room(turn, given.model)
    if before.models[given.model].phase not in UNDER_WAY:
        budget_bytes = class_of(turn, SELF).memory_budget_bytes
        for model, digest in memory.going(turn.unit(SELF), budget_bytes):
            step_model(turn, SELF, model, MemoryNeeded(digest))


def _surroundings(turn: Turn, unit: UnitState, model: str) -> Surroundings:
    settings = turn.agent.settings
    return Surroundings(
        unit=unit.name,
        trust=turn.agent.trust,
        fit=Fit(
            class_of(turn, unit.name), settings.abi_min, settings.abi_max,
            *memory.of_others(unit, model), unit.taken_bytes,
        ),
        now_us=turn.now_us,
        serving=unit.serving(model),
        previous=unit.previous(model),
        candidate=unit.candidate(model),
        when=When(turn.now_s, turn.moment.local_minutes, unit.memory.deferred_s),
    )  # fmt: skip


def class_of(turn: Turn, unit_name: str) -> HardwareClass:
    """The unit's class; on the agent itself within what its owner's config allows."""
    hardware = turn.agent.identity.classes[unit_name]
    if unit_name != SELF:
        return hardware
    limit = turn.agent.settings.memory_bytes_max
    if hardware.memory_budget_bytes <= limit:
        return hardware
    return replace(hardware, memory_budget_bytes=limit)


def _with_manifests(unit: UnitState, after: ModelState) -> UnitState:
    """Keep the manifests of the occupied slots, and of nothing else."""
    known = dict(unit.manifests)
    if after.manifest is not None and after.digest is not None:
        known[after.digest] = after.manifest
    kept = {
        slot.manifest_digest
        for state in unit.models.values()
        for slot in (state.record.active, state.record.previous, state.record.candidate)
        if slot is not None
    }
    if known.keys() == kept == unit.manifests.keys():
        return unit
    return replace(unit, manifests={d: one for d, one in known.items() if d in kept})


def _clean_up(turn: Turn, unit_name: str, before: ModelState, after: ModelState) -> None:
    """Forget plans and bytes that nobody needs any more."""
    has_ended = before.phase is not Phase.IDLE and after.phase is Phase.IDLE
    if not has_ended:
        return
    unit = turn.unit(unit_name)
    turn.put(replace(unit, plans=_without(unit.plans, after.model)))
    if after.record.outcome is not Outcome.NONE:
        unit = turn.unit(unit_name)
        turn.put(replace(unit, retry_counts=_without(unit.retry_counts, after.model)))
        turn.do(Collect(kept_bundles(turn.agent)))
    unit = turn.unit(unit_name)
    waiting = unit.waiting.get(after.model)
    if waiting is not None and waiting.code is Code.CONFLICT:
        turn.put(replace(unit, waiting=_without(unit.waiting, after.model)))
        assign(turn, unit_name, waiting.assignment)
    release(turn, unit_name, after.model)


def release(turn: Turn, unit_name: str, only: str | None = None) -> None:
    """What the document releases, of one model or of all; what it assigns is not released by it."""
    unit = turn.unit(unit_name)
    if unit.desired is None:
        return
    assigned = {one.manifest_digest for one in unit.desired.assignments}
    for one in unit.desired.releases:
        is_meant = only in (None, one.model) and one.model in unit.models
        if not is_meant or one.manifest_digest in assigned:
            continue
        before = turn.unit(unit_name).models[one.model].record
        step_model(turn, unit_name, one.model, Released(one.manifest_digest, one.is_purged))
        if one.is_purged and turn.unit(unit_name).models[one.model].record != before:
            turn.do(Collect(kept_bundles(turn.agent)))


def _retry_later(
    turn: Turn, unit_name: str, assignment: Assignment | None, failure: TransferFailed | StepFailed
) -> None:
    if assignment is None:
        return
    unit = turn.unit(unit_name)
    count = unit.retry_counts.get(assignment.model, 0) + 1
    turn.put(replace(unit, retry_counts={**unit.retry_counts, assignment.model: count}))
    longest_s = min(RETRY_LONGEST_S, RETRY_FIRST_S << min(count, 10))
    wait_us = int(longest_s * (0.5 + turn.moment.random / 2) * SECOND_US)
    _wait(turn, unit_name, Waiting(assignment, turn.now_us + wait_us, failure.code, failure.text))


def _resolve(turn: Turn, unit_name: str, effect: Effect) -> None:
    """Intents become state and effects of the agent; the rest goes to the shell."""
    if isinstance(effect, Remember):
        turn.persist()
    elif isinstance(effect, Fetch):
        _plan(turn, unit_name, effect)
    elif isinstance(effect, StopFetching):
        _stop_fetching(turn, unit_name, effect.model)
    elif isinstance(effect, (Punish, Forgive)):
        _set_penalty(turn, unit_name, effect)
    elif isinstance(effect, Tell):
        turn.tell(effect, unit_name)
    else:
        if isinstance(effect, Swap):
            guarding.forget(turn, unit_name, effect.model)
        turn.do(effect)


def _set_penalty(turn: Turn, unit_name: str, effect: Punish | Forgive) -> None:
    unit = turn.unit(unit_name)
    digest = effect.manifest_digest
    if isinstance(effect, Punish):
        # Without fleet time (a trial that fails right after a boot) the floor is the best guess.
        now_s = turn.now_s or turn.agent.clock.floor_s
        penalties = penalty.punish(unit.penalties, digest, now_s)
    else:
        penalties = penalty.forgive(unit.penalties, digest)
    turn.put(replace(unit, memory=replace(unit.memory, penalties=penalties)))


# --- fetching


def _plan(turn: Turn, unit_name: str, fetch: Fetch) -> None:
    unit = turn.unit(unit_name)
    retries = unit.plans[fetch.model].retry_count if fetch.model in unit.plans else 0
    plan = Plan(fetch.blobs, fetch.is_manifest, retry_count=retries)
    turn.put(replace(unit, plans={**unit.plans, fetch.model: plan}))
    turn.do(Survey(fetch.blobs, is_content_wanted=fetch.is_manifest))


def _stop_fetching(turn: Turn, unit_name: str, model: str) -> None:
    unit = turn.unit(unit_name)
    plan = unit.plans.get(model)
    if plan is None:
        return
    turn.put(replace(unit, plans=_without(unit.plans, model)))
    still_wanted = {
        digest
        for other in turn.agent.units.values()
        for one in other.plans.values()
        for digest in one.unfetched
    }
    transfer, effects = transfers.drop(turn.agent.transfer, plan.unfetched - still_wanted)
    turn.change(transfer=transfer)
    turn.do(*effects)


def surveyed(turn: Turn, given: Surveyed) -> None:
    """The disk told what is there: plans that asked for exactly this go on."""
    turn.change(free_bytes=given.free_bytes)
    for unit_name, model, plan in _plans(turn):
        asked = tuple(blob.digest for blob in plan.blobs)
        if plan.is_surveying and asked == given.wanted:
            _go_on(turn, unit_name, model, plan, given)


def _go_on(turn: Turn, unit_name: str, model: str, plan: Plan, given: Surveyed) -> None:
    missing = {blob: _missing_chunks(blob, given) for blob in plan.blobs}
    to_fetch = frozenset(blob.digest for blob, chunks in missing.items() if chunks)
    to_finish = frozenset(blob.digest for blob in plan.blobs if blob.digest not in given.whole)
    unit = turn.unit(unit_name)
    plan = replace(plan, is_surveying=False, unfetched=to_fetch, unfinished=to_finish)
    turn.put(replace(unit, plans={**unit.plans, model: plan}))
    if plan.is_manifest:
        digest = plan.blobs[0].digest
        if digest in given.contents:
            step_model(turn, unit_name, model, ManifestArrived(digest, given.contents[digest]))
        else:
            whole = tuple(range(chunk_count(plan.blobs[0].size_bytes)))
            _want(turn, unit_name, model, {plan.blobs[0]: whole}, is_in_memory=True)
        return
    bundle = turn.unit(unit_name).models[model].digest
    if bundle is None:
        return
    lacking_bytes = sum(
        chunk_size(blob.size_bytes, index) for blob, chunks in missing.items() for index in chunks
    )
    step_model(turn, unit_name, model, BlobsSurveyed(bundle, lacking_bytes, given.free_bytes))
    if model not in turn.unit(unit_name).plans:
        return  # no room: rejected
    for blob in plan.blobs:
        if blob.digest in to_finish and blob.digest not in to_fetch:
            turn.do(FinishBlob(blob.digest, blob.size_bytes))
    _want(turn, unit_name, model, {b: c for b, c in missing.items() if c}, is_in_memory=False)
    _advance(turn, unit_name, model)


def _missing_chunks(blob: Wanted, given: Surveyed) -> tuple[int, ...]:
    if blob.digest in given.whole:
        return ()
    have = given.chunks.get(blob.digest, frozenset())
    return tuple(index for index in range(chunk_count(blob.size_bytes)) if index not in have)


def _want(
    turn: Turn,
    unit_name: str,
    model: str,
    missing: dict[Wanted, tuple[int, ...]],
    *,
    is_in_memory: bool,
) -> None:
    """Ask the transfer for chunks; a blob without a content key ends the install."""
    desired = turn.unit(unit_name).desired
    wrapped = desired.blob_keys if desired is not None else {}
    for blob, chunks in missing.items():
        try:
            key = _content_key(turn, wrapped, blob.digest)
        except WherryError as error:
            fail(turn, unit_name, model, error.code, str(error))
            return
        want = Want(blob.digest, blob.size_bytes, key, chunks, is_in_memory)
        transfer, effects = transfers.want(turn.agent.transfer, want, turn.now_us)
        turn.change(transfer=transfer)
        turn.do(*effects)


def _content_key(turn: Turn, wrapped: dict[bytes, bytes], digest: bytes) -> bytes:
    if digest not in wrapped:
        raise WherryError(f"the desired document has no key for blob {digest.hex()}", Code.DECRYPT)
    return sealed_blobs.unwrap_key(turn.agent.identity.keys.wrap_key, wrapped[digest])


def fail(turn: Turn, unit_name: str, model: str, code: Code, text: str) -> None:
    """The step that is under way on this model has failed for good."""
    digest = turn.unit(unit_name).models[model].digest
    if digest is not None:
        step_model(turn, unit_name, model, StepFailed(unit_name, model, digest, code, text))


def chunk_arrived(turn: Turn, digest: bytes, index: int, segment: bytes) -> None:
    """A chunk off the broker."""
    before = turn.agent.transfer
    transfer, effects, arrived = transfers.receive(before, digest, index, segment, turn.now_us)
    turn.change(transfer=transfer)
    turn.do(*effects)
    if transfer.bad_chunk_count > before.bad_chunk_count:
        turn.refuse(f"blob {digest.hex()}: chunk {index} does not verify", Code.DECRYPT)
    for unit_name, _, plan in _plans(turn):
        if digest in plan.unfetched:
            turn.touch(unit_name)
    if arrived is not None:
        _blob_arrived(turn, arrived)


def _blob_arrived(turn: Turn, arrived: Arrived) -> None:
    for unit_name, model, plan in _plans(turn):
        if arrived.digest not in plan.unfetched:
            continue
        plan = replace(plan, unfetched=plan.unfetched - {arrived.digest})
        unit = turn.unit(unit_name)
        turn.put(replace(unit, plans={**unit.plans, model: plan}))
        if plan.is_manifest and arrived.content is not None:
            given = ManifestArrived(arrived.digest, arrived.content)
            step_model(turn, unit_name, model, given)
        else:
            _advance(turn, unit_name, model)


def _advance(turn: Turn, unit_name: str, model: str) -> None:
    """Tell the model when everything was received, and when everything was hashed."""
    plan = turn.unit(unit_name).plans.get(model)
    digest = turn.unit(unit_name).models[model].digest
    if plan is None or digest is None or plan.is_manifest or plan.unfetched:
        return
    given = BlobsArrived(digest) if plan.unfinished else BlobsFinished(digest)
    step_model(turn, unit_name, model, given)


def blob_finished(turn: Turn, given: BlobFinished) -> None:
    """A blob was hashed on disk."""
    for unit_name, model, plan in _plans(turn):
        if given.digest not in plan.unfinished or given.digest in plan.unfetched:
            continue
        if given.is_intact:
            plan = replace(plan, unfinished=plan.unfinished - {given.digest})
            unit = turn.unit(unit_name)
            turn.put(replace(unit, plans={**unit.plans, model: plan}))
            _advance(turn, unit_name, model)
        else:
            _fetch_again(turn, unit_name, model, plan, given.digest)


def _fetch_again(turn: Turn, unit_name: str, model: str, plan: Plan, digest: bytes) -> None:
    """Rule 4. Chunks verify alone, so this is a disk that lost what it was given."""
    if plan.retry_count >= BLOB_RETRIES_MAX:
        text = f"blob {digest.hex()}: its bytes do not hash to its digest"
        fail(turn, unit_name, model, Code.DIGEST, text)
        return
    again = Plan(plan.blobs, plan.is_manifest, retry_count=plan.retry_count + 1)
    unit = turn.unit(unit_name)
    turn.put(replace(unit, plans={**unit.plans, model: again}))
    turn.do(Survey(plan.blobs))


def store_failed(turn: Turn, given: StoreFailed) -> None:
    """The disk is full or broken: whoever wanted this blob tries again later.

    A manifest is kept when its plan is done already; without it the bundle is nothing on disk.
    """
    failure = TransferFailed(Code.STORAGE, given.text)
    for unit_name, unit in turn.agent.units.items():
        for model, state in unit.models.items():
            plan = unit.plans.get(model)
            is_planned = plan is not None and given.digest in {one.digest for one in plan.blobs}
            if is_planned or (state.phase in UNDER_WAY and state.digest == given.digest):
                step_model(turn, unit_name, model, failure)


def watch_progress(turn: Turn) -> None:
    """Stalls are reported, and a transfer without progress is given up."""
    was_stalled = transfers.missing(turn.agent.transfer, turn.now_us)
    if was_stalled:
        _touch_stalled(turn)
    transfer, has_failed = transfers.watch(turn.agent.transfer, turn.now_us)
    if transfer is not turn.agent.transfer:
        turn.change(transfer=transfer)
    if not has_failed or not turn.agent.is_connected:
        return
    seconds = turn.agent.transfer.progress_us // SECOND_US
    text = f"less than one chunk in {seconds} s; the transfer is tried again later"
    for unit_name, model, plan in _plans(turn):
        if plan.unfetched:
            step_model(turn, unit_name, model, TransferFailed(Code.NO_PROGRESS, text))


def _touch_stalled(turn: Turn) -> None:
    """Name what is missing again every ten stall times, at most."""
    for unit_name, unit in turn.agent.units.items():
        sent_us = unit.outgoing.sent_us or 0
        is_wanting = any(plan.unfetched for plan in unit.plans.values())
        is_old = turn.now_us - sent_us >= 2 * transfers.STALL_US
        is_first = sent_us < turn.agent.transfer.chunk_us + transfers.STALL_US
        if is_wanting and (is_old or is_first):
            turn.touch(unit_name, is_urgent=True)


def from_unit(turn: Turn, given: FromUnit) -> None:
    """An answer of a unit's host; one about an unknown model is late."""
    unit = turn.agent.units.get(given.unit)
    if unit is not None and given.model in unit.models:
        step_model(turn, given.unit, given.model, given)


def _plans(turn: Turn) -> list[tuple[str, str, Plan]]:
    return [
        (unit_name, model, plan)
        for unit_name, unit in turn.agent.units.items()
        for model, plan in unit.plans.items()
    ]


def _without(mapping: Mapping[str, T], key: str) -> dict[str, T]:
    return {name: value for name, value in mapping.items() if name != key}
