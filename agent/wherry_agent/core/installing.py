"""Installing: the rules of `update` from a manifest to a bundle that is ready to be swapped in.

Each function is a rule of its table: (state, input, surroundings) -> (state, effects).
"""

# ruff: noqa: ARG001  (every rule of a table takes the same parameters)

from collections.abc import Callable

from wherry_protocol.codec import encode
from wherry_protocol.errors import Code, ContractError, StateError, TrustError, WherryError
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.desired import Mode
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.replacing import replace
from wherry_protocol.trust import open_manifest

from wherry_agent.core import acceptance, candidates
from wherry_agent.core import trial as trials
from wherry_agent.core import window as windows
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
    Ticked,
)
from wherry_agent.core.model import (
    NOT_THE_BUNDLE,
    REASON_MAX,
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

# --- fetching and verifying


def accept_manifest(state: ModelState, given: ManifestArrived, around: Surroundings) -> Result:
    """Rule 1. What holds is kept on disk by the agent; the rest of the bundle is asked for."""
    assignment = assignment_of(state)
    try:
        manifest = _opened(state, given.data, around)
        acceptance.check_golden_sizes(manifest)
        if len(given.data) != assignment.manifest_bytes:
            raise TrustError(
                f"manifest has {len(given.data)} bytes, assigned {assignment.manifest_bytes}",
                Code.DIGEST,
            )
    except WherryError as error:
        return reject(state, error, around)
    try:
        _check_company(state, manifest, around)
    except ContractError as error:
        return reject(state, error, around, is_punished=False)
    blobs = {blob.digest: Wanted(blob.digest, blob.size_bytes) for blob in manifest.blobs}
    known = replace(state, manifest=manifest)
    return known, (
        KeepBlob(assignment.manifest_digest, given.data),
        Fetch(state.model, tuple(blobs.values()), is_manifest=False),
    )


def _opened(state: ModelState, data: bytes, around: Surroundings) -> Manifest:
    """The assigned manifest, signed and fit for this unit. Raises WherryError."""
    assignment = assignment_of(state)
    manifest = open_manifest(around.trust, assignment.manifest_digest, data, assignment.signatures)
    acceptance.check_manifest(manifest, state.model, around.fit, state.record.floor, around.serving)
    return manifest


def check_again(state: ModelState, around: Surroundings) -> None:
    """A bundle that was accepted before, under the keys and the floor of today. Raises WherryError.

    What waited may be what somebody rotated a key away for.
    """
    _opened(state, encode(manifest_of(state)), around)


def _check_company(state: ModelState, manifest: Manifest, around: Surroundings) -> None:
    """A candidate shares the memory with what serves, and a shadow its contract. Raises
    ContractError."""
    if around.has_two_slots:
        return
    if assignment_of(state).mode is Mode.ACTIVE:
        acceptance.check_alone(manifest, around.fit)
        return
    if assignment_of(state).mode is Mode.SHADOW and around.serving is not None:
        acceptance.check_comparable(manifest, around.serving)
    acceptance.check_company(manifest, _loaded_beside(state, around), around.fit)


def _loaded_beside(state: ModelState, around: Surroundings) -> list[Manifest]:
    previous = around.previous if candidates.loaded_previous(state.record) else None
    return [one for one in (around.serving, previous) if one is not None]


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
    """The bytes are whole and hashed: staged, if there is still room for them."""
    assignment = assignment_of(state)
    slot = slot_of(state)
    try:
        _check_company(state, manifest_of(state), around)
    except ContractError as error:
        return reject(state, error, around, is_punished=False)
    record, released = _with_memory(replace(state.record, candidate=slot), state, around)
    staged = replace(state, phase=Phase.STAGED, record=record)
    return staged, (
        Remember(),
        *released,
        tell_of(state, Kind.FETCHED, Severity.INFO, f"{state.model} {slot.version}: staged"),
        LoadCandidate(around.unit, state.model, slot, manifest_of(state), assignment),
    )


def _with_memory(
    record: ModelRecord, state: ModelState, around: Surroundings
) -> tuple[ModelRecord, tuple[Effect, ...]]:
    """The loaded `previous` gives way where there is no memory (or no slot) for three."""
    previous = candidates.loaded_previous(record)
    if previous is None or previous.manifest_digest == assignment_of(state).manifest_digest:
        return record, ()
    if around.has_two_slots:
        return replace(record, is_previous_released=True), ()
    loaded = (manifest_of(state), *_loaded_beside(state, around))
    if acceptance.do_fit(loaded, around.fit):
        return record, ()
    gone = Release(around.unit, record.model, previous.manifest_digest)
    return replace(record, is_previous_released=True), (gone,)


def self_test(state: ModelState, given: Loaded, around: Surroundings) -> Result:
    try:
        acceptance.check_program(manifest_of(state), given, around.fit)
    except ContractError as error:
        return reject(state, error, around)
    try:
        _check_company(state, manifest_of(state), around)  # by what it really took
    except ContractError as error:
        return reject(state, error, around, is_punished=False)
    if around.has_two_slots and assignment_of(state).mode is Mode.ACTIVE:
        return _test_in_window(state, around)  # it is tested where it will serve
    return _test(state, around)


def _test(state: ModelState, around: Surroundings) -> Result:
    digest = assignment_of(state).manifest_digest
    testing = replace(state, phase=Phase.SELF_TESTING, waits_for_window=False)
    return testing, (SelfTest(around.unit, state.model, digest),)


def judge_self_test(state: ModelState, given: SelfTested, around: Surroundings) -> Result:
    try:
        acceptance.check_self_test(manifest_of(state), given, around.fit)
    except ContractError as error:
        return reject(state, error, around)
    if assignment_of(state).mode is not Mode.ACTIVE:
        return candidates.stand(state, around)
    return swap(state, around) if around.has_two_slots else swap_in_window(state, around)


# --- swapping


def swap_in_window(state: ModelState, around: Surroundings) -> Result:
    """Swap, or wait for the assignment's window, or reject what has missed it."""
    return _in_window(state, around, swap)


def _test_in_window(state: ModelState, around: Surroundings) -> Result:
    return _in_window(state, around, _test)


def look_at_window(state: ModelState, given: Ticked, around: Surroundings) -> Result:
    """Time goes on for what waits."""
    if not state.waits_for_window:
        return state, ()
    then = _test_in_window if around.has_two_slots else swap_in_window
    return then(state, around)


def _in_window(
    state: ModelState, around: Surroundings, then: Callable[[ModelState, Surroundings], Result]
) -> Result:
    judged = windows.judge(assignment_of(state).window, around.when)
    if judged.code is Code.OK:
        try:
            check_again(state, around)
        except WherryError as error:
            return reject(state, error, around, is_punished=False)
        record = replace(state.record, code=Code.OK, reason="")
        return then(replace(state, record=record), around)
    if judged.code is Code.WINDOW_OVER:
        missed = StateError(f"{state.model} {slot_of(state).version}: {judged.reason}", judged.code)
        return reject(state, missed, around, is_punished=False)
    record = replace(state.record, code=judged.code, reason=judged.reason)
    return replace(state, phase=Phase.STAGED, record=record, waits_for_window=True), ()


def swap(state: ModelState, around: Surroundings) -> Result:
    """Rule 4: the record first, then the pointer."""
    limits = trials.bounded(assignment_of(state).trial, manifest_of(state).policy)
    slot = slot_of(state)
    before, active = state.record.previous, state.record.active
    is_again = active is not None and active.manifest_digest == slot.manifest_digest
    record = replace(
        state.record,
        active=slot,
        previous=before if is_again else active,
        candidate=None,
        trial=TrialRecord(limits=limits),
        is_previous_released=state.record.is_previous_released and is_again,
        shadow_start_count=0,
    )
    swapped = replace(
        state,
        phase=Phase.TRIAL,
        record=record,
        trial=Trial(limits, around.now_us),
        waits_for_window=False,
    )
    is_loaded = before is not None and not state.record.is_previous_released
    digest = slot.manifest_digest
    return swapped, (
        Remember(),
        Swap(around.unit, state.model, digest),
        WatchTrial(around.unit, state.model, digest),
        *(
            candidates.release_unless_kept(record, before.manifest_digest, around)
            if before is not None and is_loaded
            else ()
        ),
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
        *candidates.release_unless_kept(record, digest, around),
        tell_of(state, Kind.REJECTED, Severity.ERROR, text, error.code),
    )


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
        *candidates.release_unless_kept(record, digest, around),
    )
