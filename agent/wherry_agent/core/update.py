"""Update: how one model on one unit gets from an assignment to a confirmed bundle.

    idle -> fetching -> verifying -> staged -> self-testing -> trial -> idle

Rules, in order:
1. The manifest comes first. Its signatures (release threshold), class, ABI, contract, budgets,
   floor and policy hold before one byte of another blob is asked for.
2. Every blob is hashed on disk before the program is assembled; the assembled program is hashed,
   and hashed again as it is mapped.
3. Golden vectors must come out bit for bit, within the class budget. Anything else rejects, and
   what serves was never touched. Before the swap the manifest is held to the keys and the floor of
   that moment again: a transfer or a window may have taken days.
4. The record says `active = new, in trial` before the pointer moves. A revert moves the pointer
   first and says so afterwards: if power fails between, the trial goes on and counts a start.
5. The security floor moves at confirmation only; `previous` stays until then and after.
6. A failure of a bundle is remembered and must wait (`core.penalty`). A failure of the transfer,
   the disk or the way to the unit is not the bundle's: the assignment begins again later.
7. What serves and cannot be loaded any more (after a boot) gives its place to `previous`.
8. What was confirmed and then fails for two minutes on end (`core.sustained`) gives its place to
   `previous` too, and as after a trial it has to wait: the pointer first, then the record. A way
   back that was unloaded is loaded before that; if it cannot be, what fails goes on.

Pure. TRANSITIONS holds a function for every (phase, input) pair; tests walk all of them.
"""

# ruff: noqa: ARG001  (every rule of a table takes the same parameters)

from collections.abc import Callable
from itertools import product
from typing import Final

from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Assignment, assignment_id
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.replacing import replace

from wherry_agent.core import candidates
from wherry_agent.core import trial as trials
from wherry_agent.core.beginning import begin
from wherry_agent.core.effects import (
    LoadCandidate,
    Punish,
    Release,
    Remember,
    StopFetching,
    Swap,
    Tell,
)
from wherry_agent.core.inputs import (
    Assembled,
    Figures,
    Input,
    Loaded,
    SelfTested,
    Shadowed,
    StepFailed,
    Ticked,
)
from wherry_agent.core.installing import (
    accept_manifest,
    assemble,
    check_room,
    drop,
    judge_self_test,
    load,
    look_at_window,
    reject_failed_step,
    self_test,
    verify_blobs,
    wait_for_transfer,
)
from wherry_agent.core.model import (
    REASON_MAX,
    UNDER_WAY,
    Assigned,
    BlobsArrived,
    BlobsFinished,
    BlobsSurveyed,
    Dropped,
    Failing,
    ManifestArrived,
    MemoryNeeded,
    ModelState,
    Released,
    Result,
    Surroundings,
    TransferFailed,
    assignment_of,
    tell_of,
)
from wherry_agent.core.record import TrialRecord
from wherry_agent.core.trial import Judgement, Verdict
from wherry_agent.core.trying import (
    judge_figures,
    judge_golden_again,
    judge_time,
    revert,
    revert_failed_step,
)


def step(state: ModelState, given: Input, around: Surroundings) -> Result:
    """The model's next state and effects. Raises KeyError only if the table has a hole."""
    if state.gives_back is not None and isinstance(given, (Loaded, StepFailed)):
        back = state.record.previous
        if back is not None and back.manifest_digest == given.manifest_digest:
            return _answer_way_back(state, state.gives_back, given, around)
    if _is_about_something_else(state, given):
        if isinstance(given, (StepFailed, Shadowed)):
            return candidates.heard(state, given, around)
        return state, ()
    return TRANSITIONS[state.phase, type(given)](state, given, around)


def _is_about_something_else(state: ModelState, given: Input) -> bool:
    """A late answer about a bundle that is not under way any more."""
    digest = getattr(given, "manifest_digest", None) or getattr(given, "digest", None)
    if digest is None:
        return False
    return bool(digest != state.digest)


def restart(state: ModelState, given: Assigned, around: Surroundings) -> Result:
    """A newer assignment while another is on its way: let go of the old one, begin the new.

    What only waits for its window is judged by the new one.
    """
    if state.waits_for_window and _differs_in_time_only(state, given.assignment):
        record = replace(state.record, assignment_id=assignment_id(given.assignment))
        known = replace(state, assignment=given.assignment, record=record)
        waiting, effects = look_at_window(known, Ticked(), around)
        return waiting, effects or (Remember(),)
    dropped, effects = drop(state, Dropped(Code.OK, ""), around)
    begun, more = begin(dropped, given, around)
    return begun, (*effects, *more)


def _differs_in_time_only(state: ModelState, assignment: Assignment) -> bool:
    return state.assignment is not None and assignment == replace(
        state.assignment, window=assignment.window, trial=assignment.trial
    )


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


def fall_back(state: ModelState, given: StepFailed, around: Surroundings) -> Result:
    """Rule 7. The assignment is forgotten, so that its document installs the bundle again."""
    back = state.record.previous
    if not given.is_unloadable or back is None or around.previous is None:
        return state, ()
    record, gone = candidates.let_go(state.record, around)
    record = replace(
        record,
        active=back,
        previous=None,
        is_previous_released=False,
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
        *gone,
        tell_of(state, Kind.REVERTED, Severity.ERROR, text, given.code),
    )


def give_back(state: ModelState, given: Failing, around: Surroundings) -> Result:
    """Rule 8. As in a trial: the way back serves, and the bundle has to wait.

    The outcome is told of the assignment that brought the bundle. Where another one has been
    answered since (a candidate that stands, a bundle that was rejected) or is under way, that stays
    as it is, and the event alone says what went back.
    """
    bad, back = state.record.active, state.record.previous
    if bad is None or bad.manifest_digest != given.bundle:
        return state, ()
    if back is None or around.previous is None:
        return state, ()
    if state.record.is_previous_released:
        load_it = LoadCandidate(around.unit, state.model, back, around.previous, None)
        return replace(state, gives_back=given), (load_it,)
    record = replace(state.record, active=back, previous=None, is_previous_released=False)
    if record.outcome is Outcome.CONFIRMED:
        reason = given.text[:REASON_MAX]
        record = replace(record, outcome=Outcome.REVERTED, code=Code.ERROR_RATE, reason=reason)
    record, gone = candidates.let_go_without_room(record, around)
    text = f"{state.model}: {given.text}; {back.version} serves instead"
    after = replace(state, record=record)
    return after, (
        LoadCandidate(around.unit, state.model, back, around.previous, None),
        Swap(around.unit, state.model, back.manifest_digest),
        Punish(bad.manifest_digest),
        Remember(),
        *gone,
        Release(around.unit, state.model, bad.manifest_digest),
        Tell(
            Kind.REVERTED, Severity.ERROR, text, Code.ERROR_RATE, state.model, bad.manifest_digest
        ),
    )


def _answer_way_back(
    state: ModelState, failing: Failing, given: Loaded | StepFailed, around: Surroundings
) -> Result:
    """The way back is there, and is taken; or it cannot be loaded."""
    state = replace(state, gives_back=None)
    if isinstance(given, Loaded):
        record = replace(state.record, is_previous_released=False)
        return TRANSITIONS[state.phase, Failing](replace(state, record=record), failing, around)
    serving = around.serving.version if around.serving else "nothing"
    text = f"{given.text}; so {serving} goes on, although {failing.text}"
    return state, (
        Tell(Kind.STORAGE, Severity.ERROR, text, given.code, state.model, failing.bundle),
    )


def give_back_on_the_way(state: ModelState, given: Failing, around: Surroundings) -> Result:
    """Rule 8 while another assignment is under way, which goes on; one that names the way back
    itself has its answer with it."""
    assignment, back = assignment_of(state), state.record.previous
    is_wanted = back is not None and back.manifest_digest == assignment.manifest_digest
    if back is None or not is_wanted or state.record.is_previous_released:
        return give_back(state, given, around)
    wanted = replace(state.record, previous=replace(back, deadline_us=assignment.deadline_us))
    after, effects = give_back(replace(state, record=wanted), given, around)
    if not effects:
        return state, ()
    answered, more = begin(ModelState(record=after.record), Assigned(assignment), around)
    return answered, (*effects, StopFetching(state.model), *more)


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
    Shadowed,
    Released,
    MemoryNeeded,
    Failing,
)

RULES: Final[dict[tuple[Phase, type[Input]], Callable[..., Result]]] = {
    (Phase.IDLE, Assigned): begin,
    (Phase.IDLE, StepFailed): fall_back,
    (Phase.IDLE, Released): candidates.release,
    (Phase.IDLE, Failing): give_back,
    **{(phase, Failing): give_back_on_the_way for phase in UNDER_WAY},
    **{(phase, MemoryNeeded): candidates.give_way for phase in (Phase.IDLE, *UNDER_WAY)},
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
    (Phase.STAGED, Ticked): look_at_window,
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
