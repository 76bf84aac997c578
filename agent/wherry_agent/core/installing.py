"""Installing: the rules of `update` from an assignment to a bundle that is ready to be swapped in.

Each function is a rule of its table: (state, input, surroundings) -> (state, effects).
"""

# ruff: noqa: ARG001  (every rule of a table takes the same parameters)

from wherry_protocol.errors import Code, ContractError, TrustError, WherryError
from wherry_protocol.messages.desired import Assignment, Mode, assignment_id
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.replacing import replace
from wherry_protocol.trust import open_manifest

from wherry_agent.core import acceptance
from wherry_agent.core import trial as trials
from wherry_agent.core.effects import (
    Assemble,
    Effect,
    Fetch,
    KeepBlob,
    LoadCandidate,
    Punish,
    Release,
    Remember,
    SelfTest,
    StopFetching,
    Swap,
    Wanted,
    WatchTrial,
)
from wherry_agent.core.inputs import (
    Assembled,
    Loaded,
    SelfTested,
    StepFailed,
)
from wherry_agent.core.model import (
    NOT_THE_BUNDLE,
    REASON_MAX,
    Assigned,
    BlobsArrived,
    BlobsFinished,
    BlobsSurveyed,
    Dropped,
    ManifestArrived,
    ModelState,
    Result,
    Surroundings,
    TransferFailed,
    assignment_of,
    manifest_of,
    slot_of,
    tell_of,
)
from wherry_agent.core.record import ModelRecord, TrialRecord
from wherry_agent.core.trial import Trial

# --- starting


def begin(state: ModelState, given: Assigned, around: Surroundings) -> Result:
    """Follow a new assignment."""
    assignment = given.assignment
    record = replace(
        state.record,
        assignment_id=assignment_id(assignment),
        mode=assignment.mode,
        outcome=Outcome.NONE,
        code=Code.OK,
        reason="",
    )
    if assignment.mode is Mode.SHADOW:
        return reject(
            replace(state, record=record, assignment=assignment),
            ContractError("shadow mode is not available on this agent", Code.INVALID),
            around,
            is_punished=False,
        )
    active = record.active
    serves_it = active is not None and active.manifest_digest == assignment.manifest_digest
    if serves_it and assignment.mode is Mode.ACTIVE and record.trial is None:
        return _confirm_what_serves(replace(state, record=record), assignment)
    wanted = Wanted(assignment.manifest_digest, assignment.manifest_bytes)
    begun = ModelState(record=record, phase=Phase.FETCHING, assignment=assignment)
    return begun, (
        Remember(),
        tell_of(begun, Kind.ASSIGNED, Severity.INFO, f"{state.model}: assigned"),
        Fetch(state.model, (wanted,), is_manifest=True),
    )


def _confirm_what_serves(state: ModelState, assignment: Assignment) -> Result:
    """The bundle is active and confirmed already: nothing to do but to say so."""
    active = state.record.active
    if active is None:
        raise RuntimeError("no active slot to confirm")
    slot = replace(active, deadline_us=assignment.deadline_us)
    record = replace(state.record, outcome=Outcome.CONFIRMED, active=slot)
    return ModelState(record=record), (Remember(),)


# --- fetching and verifying


def accept_manifest(state: ModelState, given: ManifestArrived, around: Surroundings) -> Result:
    """Rule 1. What holds is kept on disk by the agent; the rest of the bundle is asked for."""
    assignment = assignment_of(state)
    try:
        manifest = open_manifest(
            around.trust, assignment.manifest_digest, given.data, assignment.signatures
        )
        acceptance.check_manifest(
            manifest, state.model, around.fit, state.record.floor, around.serving
        )
        acceptance.check_golden_sizes(manifest)
        if len(given.data) != assignment.manifest_bytes:
            raise TrustError(
                f"manifest has {len(given.data)} bytes, assigned {assignment.manifest_bytes}",
                Code.DIGEST,
            )
    except WherryError as error:
        return reject(state, error, around)
    blobs = {blob.digest: Wanted(blob.digest, blob.size_bytes) for blob in manifest.blobs}
    known = replace(state, manifest=manifest)
    return known, (
        KeepBlob(assignment.manifest_digest, given.data),
        Fetch(state.model, tuple(blobs.values()), is_manifest=False),
    )


def check_room(state: ModelState, given: BlobsSurveyed, around: Surroundings) -> Result:
    """Is there storage for what is still lacking?"""
    try:
        acceptance.check_storage(
            manifest_of(state), given.lacking_bytes, around.fit, given.free_bytes
        )
    except ContractError as error:
        return reject(state, error, around, is_punished=False)
    return state, ()


def verify_blobs(state: ModelState, given: BlobsArrived, around: Surroundings) -> Result:
    return replace(state, phase=Phase.VERIFYING), ()


def assemble(state: ModelState, given: BlobsFinished, around: Surroundings) -> Result:
    digest = assignment_of(state).manifest_digest
    verifying = replace(state, phase=Phase.VERIFYING)
    return verifying, (Assemble(around.unit, state.model, digest, manifest_of(state)),)


def wait_for_transfer(state: ModelState, given: TransferFailed, around: Surroundings) -> Result:
    """Give up for now. The assignment is not answered: the agent begins it again later."""
    idle = ModelState(
        record=replace(
            state.record, assignment_id=None, code=given.code, reason=given.text[:REASON_MAX]
        )
    )
    return idle, (
        StopFetching(state.model),
        Remember(),
        tell_of(state, Kind.LOG, Severity.WARNING, given.text, given.code),
    )


# --- loading and testing


def load(state: ModelState, given: Assembled, around: Surroundings) -> Result:
    """The bytes are whole and hashed: staged."""
    assignment = assignment_of(state)
    slot = slot_of(state)
    staged = replace(state, phase=Phase.STAGED, record=replace(state.record, candidate=slot))
    return staged, (
        Remember(),
        tell_of(state, Kind.FETCHED, Severity.INFO, f"{state.model} {slot.version}: staged"),
        LoadCandidate(around.unit, state.model, slot, manifest_of(state), assignment),
    )


def self_test(state: ModelState, given: Loaded, around: Surroundings) -> Result:
    try:
        acceptance.check_program(manifest_of(state), given, around.fit)
    except ContractError as error:
        return reject(state, error, around)
    digest = assignment_of(state).manifest_digest
    testing = replace(state, phase=Phase.SELF_TESTING)
    return testing, (SelfTest(around.unit, state.model, digest),)


def judge_self_test(state: ModelState, given: SelfTested, around: Surroundings) -> Result:
    try:
        acceptance.check_self_test(manifest_of(state), given, around.fit)
    except ContractError as error:
        return reject(state, error, around)
    if assignment_of(state).mode is Mode.WARM:
        record = replace(state.record, outcome=Outcome.READY)
        return ModelState(record=record), (Remember(),)
    return swap(state, around)


def swap(state: ModelState, around: Surroundings) -> Result:
    """Rule 4: the record first, then the pointer."""
    limits = trials.bounded(assignment_of(state).trial, manifest_of(state).policy)
    slot = slot_of(state)
    active = state.record.active
    is_again = active is not None and active.manifest_digest == slot.manifest_digest
    record = replace(
        state.record,
        active=slot,
        previous=state.record.previous if is_again else active,
        candidate=None,
        trial=TrialRecord(limits=limits),
    )
    swapped = replace(state, phase=Phase.TRIAL, record=record, trial=Trial(limits, around.now_us))
    digest = slot.manifest_digest
    return swapped, (
        Remember(),
        Swap(around.unit, state.model, digest),
        WatchTrial(around.unit, state.model, digest),
        tell_of(swapped, Kind.SWAPPED, Severity.INFO, f"{state.model} {slot.version}: on trial"),
    )


# --- ends


def reject(
    state: ModelState, error: WherryError, around: Surroundings, *, is_punished: bool = True
) -> Result:
    """The bundle is not for this unit; what serves goes on."""
    digest = assignment_of(state).manifest_digest
    text = str(error)
    record = replace(
        state.record,
        candidate=None,
        outcome=Outcome.REJECTED,
        code=error.code,
        reason=text[:REASON_MAX],
    )
    punishment = (Punish(digest),) if is_punished else ()
    return ModelState(record=record), (
        StopFetching(state.model),
        *punishment,
        Remember(),
        *_release_unless_kept(record, digest, around),
        tell_of(state, Kind.REJECTED, Severity.ERROR, text, error.code),
    )


def _release_unless_kept(
    record: ModelRecord, digest: bytes, around: Surroundings
) -> tuple[Effect, ...]:
    """Unload a refused candidate, but never what serves or may have to."""
    kept = (record.active, record.previous)
    if any(slot is not None and slot.manifest_digest == digest for slot in kept):
        return ()
    return (Release(around.unit, record.model, digest),)


def reject_failed_step(state: ModelState, given: StepFailed, around: Surroundings) -> Result:
    if given.code in NOT_THE_BUNDLE:
        return wait_for_transfer(state, TransferFailed(given.code, given.text), around)
    return reject(state, ContractError(given.text, given.code), around)


def drop(state: ModelState, given: Dropped, around: Surroundings) -> Result:
    """Let go of what is under way; the assignment stays unanswered."""
    digest = assignment_of(state).manifest_digest
    record = replace(
        state.record,
        assignment_id=None,
        candidate=None,
        code=given.code,
        reason=given.text[:REASON_MAX],
    )
    return ModelState(record=record), (
        StopFetching(state.model),
        Remember(),
        *_release_unless_kept(record, digest, around),
    )
