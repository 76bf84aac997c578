"""Update: how one model on one unit gets from an assignment to a confirmed bundle.

    idle -> fetching -> verifying -> staged -> self-testing -> trial -> idle

Rules, in order:
1. The manifest comes first. Its signatures (release threshold), class, ABI, contract, budgets,
   floor and policy hold before one byte of another blob is asked for.
2. Every blob is hashed on disk before the program is assembled; the assembled program is hashed,
   and hashed again as it is mapped.
3. Golden vectors must come out bit for bit, within the class budget. Anything else rejects, and
   what serves was never touched.
4. The record says `active = new, in trial` before the pointer moves. A revert moves the pointer
   first and says so afterwards: if power fails between, the trial goes on and counts a start.
5. The security floor moves at confirmation only; `previous` stays until then and after.
6. A failure of a bundle is remembered and must wait (`core.penalty`). A failure of the transfer,
   the disk or the way to the unit is not the bundle's: the assignment begins again later.
7. What serves and cannot be loaded any more (after a boot) gives its place to `previous`.

Pure. TRANSITIONS holds a function for every (phase, input) pair; tests walk all of them.
"""

# ruff: noqa: ARG001  (every rule of a table takes the same parameters)

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from wherry_protocol.errors import Code, ContractError, TrustError, WherryError
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.desired import Assignment, Mode, assignment_id
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.trust import TrustState, open_manifest
from wherry_protocol.version import Version

from wherry_agent.core import acceptance
from wherry_agent.core import trial as trials
from wherry_agent.core.acceptance import Fit
from wherry_agent.core.effects import (
    Assemble,
    Effect,
    Fetch,
    Forgive,
    KeepBlob,
    LoadCandidate,
    MakePermanent,
    Punish,
    Release,
    Remember,
    SelfTest,
    StopFetching,
    Swap,
    Tell,
    UnwatchTrial,
    Wanted,
    WatchTrial,
)
from wherry_agent.core.inputs import (
    Assembled,
    Figures,
    Input,
    Loaded,
    SelfTested,
    StepFailed,
    Ticked,
)
from wherry_agent.core.record import ModelRecord, Slot, TrialRecord
from wherry_agent.core.trial import Judgement, Trial, Verdict

REASON_MAX: Final = 256
NOT_THE_BUNDLE: Final = frozenset({Code.STORAGE, Code.DEVICE_LINK, Code.OVERLOADED})


# --- inputs that only the agent's own core makes


@dataclass(frozen=True, slots=True)
class Assigned(Input):
    """A desired document names this assignment, and nothing forbids starting it now."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Dropped(Input):
    """What was under way is not wanted any more (a newer assignment, a stop, isolation)."""

    code: Code
    text: str


@dataclass(frozen=True, slots=True)
class ManifestArrived(Input):
    """The manifest's bytes, whole; `lacking_bytes` and `free_bytes` come with the next survey."""

    digest: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class BlobsSurveyed(Input):
    """What of the bundle lies on disk already, before the rest is fetched."""

    digest: bytes
    lacking_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class BlobsArrived(Input):
    """Every chunk of every blob was received and verified."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class BlobsFinished(Input):
    """Every blob was hashed on disk and is durable."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class TransferFailed(Input):
    """The transfer ended without the bytes; the bundle itself is not to blame."""

    code: Code
    text: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a transition may know beside its state."""

    unit: str
    trust: TrustState
    fit: Fit
    now_us: int
    serving: Manifest | None  # the manifest of the active bundle
    previous: Manifest | None = None  # and of the one before it


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model on one unit. `record` is what is (or is about to be) on disk."""

    record: ModelRecord
    phase: Phase = Phase.IDLE
    assignment: Assignment | None = None  # under way, or in trial
    manifest: Manifest | None = None  # of what is under way
    trial: Trial | None = None

    @property
    def model(self) -> str:
        return self.record.model

    @property
    def digest(self) -> bytes | None:
        """The manifest digest of what is under way; of what serves if nothing is."""
        if self.assignment is None or self.phase is Phase.TRIAL:
            return self.record.active.manifest_digest if self.record.active else None
        return self.assignment.manifest_digest


Result = tuple[ModelState, tuple[Effect, ...]]
Rule = Callable[[ModelState, "ModelInput", Surroundings], Result]
ModelInput = Input


def step(state: ModelState, given: Input, around: Surroundings) -> Result:
    """The model's next state and effects. Raises KeyError only if the table has a hole."""
    if _is_about_something_else(state, given):
        return state, ()
    return TRANSITIONS[state.phase, type(given)](state, given, around)


def _is_about_something_else(state: ModelState, given: Input) -> bool:
    """A late answer about a bundle that is not under way any more."""
    digest = getattr(given, "manifest_digest", None) or getattr(given, "digest", None)
    if digest is None:
        return False
    return bool(digest != state.digest)


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
        _tell(begun, Kind.ASSIGNED, Severity.INFO, f"{state.model}: assigned"),
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


def restart(state: ModelState, given: Assigned, around: Surroundings) -> Result:
    """A newer assignment while another is on its way: let go of the old one, begin the new."""
    dropped, effects = drop(state, Dropped(Code.OK, ""), around)
    begun, more = begin(dropped, given, around)
    return begun, (*effects, *more)


def restart_in_trial(state: ModelState, given: Assigned, around: Surroundings) -> Result:
    """The bundle on trial under new limits, or another bundle.

    Another bundle first sends the one on trial back: an unconfirmed bundle must never become the
    rollback target.
    """
    assignment, active = given.assignment, state.record.active
    is_same = active is not None and active.manifest_digest == assignment.manifest_digest
    if not is_same or state.trial is None or state.manifest is None:
        reverted, effects = revert(
            state, Verdict(Judgement.REVERT, Code.CONFLICT, "another bundle was assigned"), around,
            is_punished=False,
        )  # fmt: skip
        begun, more = begin(reverted, given, around)
        return begun, (*effects, *more)
    limits = trials.bounded(assignment.trial, state.manifest.policy)
    record = replace(
        state.record,
        assignment_id=assignment_id(assignment),
        trial=TrialRecord(limits=limits, start_count=state.trial.start_count),
    )
    trial = replace(state.trial, limits=limits, since_us=around.now_us, is_golden_asked=False)
    return replace(state, record=record, assignment=assignment, trial=trial), (Remember(),)


# --- fetching and verifying


def accept_manifest(state: ModelState, given: ManifestArrived, around: Surroundings) -> Result:
    """Rule 1. What holds is kept on disk by the agent; the rest of the bundle is asked for."""
    assignment = _assignment(state)
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
            _manifest(state), given.lacking_bytes, around.fit, given.free_bytes
        )
    except ContractError as error:
        return reject(state, error, around, is_punished=False)
    return state, ()


def verify_blobs(state: ModelState, given: BlobsArrived, around: Surroundings) -> Result:
    return replace(state, phase=Phase.VERIFYING), ()


def assemble(state: ModelState, given: BlobsFinished, around: Surroundings) -> Result:
    digest = _assignment(state).manifest_digest
    verifying = replace(state, phase=Phase.VERIFYING)
    return verifying, (Assemble(around.unit, state.model, digest, _manifest(state)),)


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
        _tell(state, Kind.LOG, Severity.WARNING, given.text, given.code),
    )


# --- loading and testing


def load(state: ModelState, given: Assembled, around: Surroundings) -> Result:
    """The bytes are whole and hashed: staged."""
    assignment = _assignment(state)
    slot = _slot(state)
    staged = replace(state, phase=Phase.STAGED, record=replace(state.record, candidate=slot))
    return staged, (
        Remember(),
        _tell(state, Kind.FETCHED, Severity.INFO, f"{state.model} {slot.version}: staged"),
        LoadCandidate(around.unit, state.model, slot, _manifest(state), assignment),
    )


def self_test(state: ModelState, given: Loaded, around: Surroundings) -> Result:
    try:
        acceptance.check_program(_manifest(state), given, around.fit)
    except ContractError as error:
        return reject(state, error, around)
    digest = _assignment(state).manifest_digest
    testing = replace(state, phase=Phase.SELF_TESTING)
    return testing, (SelfTest(around.unit, state.model, digest),)


def judge_self_test(state: ModelState, given: SelfTested, around: Surroundings) -> Result:
    try:
        acceptance.check_self_test(_manifest(state), given, around.fit)
    except ContractError as error:
        return reject(state, error, around)
    if _assignment(state).mode is Mode.WARM:
        record = replace(state.record, outcome=Outcome.READY)
        return ModelState(record=record), (Remember(),)
    return swap(state, around)


def swap(state: ModelState, around: Surroundings) -> Result:
    """Rule 4: the record first, then the pointer."""
    limits = trials.bounded(_assignment(state).trial, _manifest(state).policy)
    slot = _slot(state)
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
        _tell(swapped, Kind.SWAPPED, Severity.INFO, f"{state.model} {slot.version}: on trial"),
    )


# --- the trial


def judge_figures(state: ModelState, given: Figures, around: Surroundings) -> Result:
    trial = _trial(state)
    verdict = trials.judge_figures(trial.limits, given)
    counted = replace(state, trial=replace(trial, good_count=given.good_count))
    if verdict.judgement is Judgement.REVERT:
        return revert(counted, verdict, around)
    return _follow(counted, trials.judge(_trial(counted), around.now_us), around)


def judge_time(state: ModelState, given: Ticked, around: Surroundings) -> Result:
    return _follow(state, trials.judge(_trial(state), around.now_us), around)


def _follow(state: ModelState, verdict: Verdict, around: Surroundings) -> Result:
    if verdict.judgement is Judgement.GO_ON:
        return state, ()
    if verdict.judgement is Judgement.CONFIRM:
        return confirm(state, around)
    if verdict.judgement is Judgement.REVERT:
        return revert(state, verdict, around)
    asked = replace(state, trial=replace(_trial(state), is_golden_asked=True))
    digest = _active(state).manifest_digest
    return asked, (SelfTest(around.unit, state.model, digest),)


def judge_golden_again(state: ModelState, given: SelfTested, around: Surroundings) -> Result:
    """The trial's time is up, inputs were rare: the golden vectors decide."""
    if given.passed == given.count and given.count > 0:
        return confirm(state, around)
    text = f"{given.passed} of {given.count} golden vectors came out at the end of the trial"
    return revert(state, Verdict(Judgement.REVERT, Code.GOLDEN_MISMATCH, text), around)


def confirm(state: ModelState, around: Surroundings) -> Result:
    manifest = _manifest(state)
    floor = max(state.record.floor, manifest.security_floor, key=Version.parse)
    record = replace(
        state.record,
        trial=None,
        outcome=Outcome.CONFIRMED,
        code=Code.OK,
        reason="",
        floor=floor,
        active=replace(_active(state), good_inferences=_trial(state).good_count),
    )
    digest = _active(state).manifest_digest
    confirmed = ModelState(record=record)
    text = f"{state.model} {manifest.version}: confirmed"
    return confirmed, (
        Forgive(digest),
        Remember(),
        UnwatchTrial(around.unit, state.model),
        MakePermanent(around.unit, state.model, digest),
        _tell(state, Kind.CONFIRMED, Severity.INFO, text),
    )


def revert(
    state: ModelState, verdict: Verdict, around: Surroundings, *, is_punished: bool = True
) -> Result:
    """Rule 4: the pointer first, then the record."""
    bad = _active(state)
    back = state.record.previous
    record = replace(
        state.record,
        active=back,
        previous=None,
        trial=None,
        outcome=Outcome.REVERTED,
        code=verdict.code,
        reason=verdict.reason[:REASON_MAX],
    )
    punishment = (Punish(bad.manifest_digest),) if is_punished else ()
    return ModelState(record=record), (
        Swap(around.unit, state.model, back.manifest_digest if back else None),
        *punishment,
        Remember(),
        UnwatchTrial(around.unit, state.model),
        Release(around.unit, state.model, bad.manifest_digest),
        _tell(state, Kind.REVERTED, Severity.ERROR, verdict.reason, verdict.code),
    )


# --- ends


def reject(
    state: ModelState, error: WherryError, around: Surroundings, *, is_punished: bool = True
) -> Result:
    """The bundle is not for this unit; what serves goes on."""
    digest = _assignment(state).manifest_digest
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
        _tell(state, Kind.REJECTED, Severity.ERROR, text, error.code),
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


def revert_failed_step(state: ModelState, given: StepFailed, around: Surroundings) -> Result:
    """Loading, swapping or testing failed on the bundle that is on trial."""
    verdict = Verdict(Judgement.REVERT, given.code, given.text)
    return revert(state, verdict, around, is_punished=given.code not in NOT_THE_BUNDLE)


def fall_back(state: ModelState, given: StepFailed, around: Surroundings) -> Result:
    """Rule 7. The assignment is forgotten, so that its document installs the bundle again."""
    back = state.record.previous
    if not given.is_unloadable or back is None or around.previous is None:
        return state, ()
    record = replace(
        state.record,
        active=back,
        previous=None,
        assignment_id=None,
        outcome=Outcome.NONE,
        code=given.code,
        reason=given.text[:REASON_MAX],
    )
    fallen = ModelState(record=record)
    text = f"{given.text}; {state.model} {back.version} serves instead"
    return fallen, (
        LoadCandidate(around.unit, state.model, back, around.previous, None),
        Swap(around.unit, state.model, back.manifest_digest),
        Remember(),
        _tell(fallen, Kind.REVERTED, Severity.ERROR, text, given.code),
    )


def drop(state: ModelState, given: Dropped, around: Surroundings) -> Result:
    """Let go of what is under way; the assignment stays unanswered."""
    digest = _assignment(state).manifest_digest
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


def ignore(state: ModelState, given: Input, around: Surroundings) -> Result:
    """A late or repeated input changes nothing."""
    return state, ()


# --- the table

MODEL_INPUTS: Final = (
    Assigned,
    Dropped,
    ManifestArrived,
    BlobsSurveyed,
    BlobsArrived,
    BlobsFinished,
    TransferFailed,
    Assembled,
    Loaded,
    SelfTested,
    StepFailed,
    Figures,
    Ticked,
)
UNDER_WAY: Final = (Phase.FETCHING, Phase.VERIFYING, Phase.STAGED, Phase.SELF_TESTING)

RULES: Final[dict[tuple[Phase, type[Input]], Callable[..., Result]]] = {
    (Phase.IDLE, Assigned): begin,
    (Phase.IDLE, StepFailed): fall_back,
    **{(phase, Assigned): restart for phase in UNDER_WAY},
    **{(phase, Dropped): drop for phase in UNDER_WAY},
    **{(phase, StepFailed): reject_failed_step for phase in UNDER_WAY},
    (Phase.FETCHING, ManifestArrived): accept_manifest,
    (Phase.FETCHING, BlobsSurveyed): check_room,
    (Phase.FETCHING, BlobsArrived): verify_blobs,
    (Phase.FETCHING, BlobsFinished): assemble,
    (Phase.FETCHING, TransferFailed): wait_for_transfer,
    (Phase.VERIFYING, BlobsFinished): assemble,
    (Phase.VERIFYING, TransferFailed): wait_for_transfer,
    (Phase.VERIFYING, Assembled): load,
    (Phase.STAGED, Loaded): self_test,
    (Phase.SELF_TESTING, SelfTested): judge_self_test,
    (Phase.TRIAL, Assigned): restart_in_trial,
    (Phase.TRIAL, Figures): judge_figures,
    (Phase.TRIAL, Ticked): judge_time,
    (Phase.TRIAL, SelfTested): judge_golden_again,
    (Phase.TRIAL, StepFailed): revert_failed_step,
}
# Whatever has no rule of its own is late or does not concern the phase.
TRANSITIONS: Final[dict[tuple[Phase, type[Input]], Callable[..., Result]]] = {
    **dict.fromkeys(product(Phase, MODEL_INPUTS), ignore),
    **RULES,
}


# --- what must be there in a phase


def _assignment(state: ModelState) -> Assignment:
    if state.assignment is None:
        raise RuntimeError(f"{state.model}: no assignment in phase {state.phase.name}")
    return state.assignment


def _manifest(state: ModelState) -> Manifest:
    if state.manifest is None:
        raise RuntimeError(f"{state.model}: no manifest in phase {state.phase.name}")
    return state.manifest


def _trial(state: ModelState) -> Trial:
    if state.trial is None:
        raise RuntimeError(f"{state.model}: no trial in phase {state.phase.name}")
    return state.trial


def _active(state: ModelState) -> Slot:
    if state.record.active is None:
        raise RuntimeError(f"{state.model}: no active slot in phase {state.phase.name}")
    return state.record.active


def _slot(state: ModelState) -> Slot:
    """The slot that the assignment fills."""
    assignment = _assignment(state)
    return Slot(
        manifest_digest=assignment.manifest_digest,
        version=_manifest(state).version,
        deadline_us=assignment.deadline_us,
    )


def _tell(
    state: ModelState, kind: Kind, severity: Severity, text: str, code: Code = Code.OK
) -> Tell:
    return Tell(kind, severity, text, code, state.model, state.digest)
