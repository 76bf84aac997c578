"""Trying: the rules of `update` while a bundle is on trial, and when it ends.

Each function is a rule of its table: (state, input, surroundings) -> (state, effects).
"""

# ruff: noqa: ARG001  (every rule of a table takes the same parameters)

from wherry_protocol.errors import Code
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.replacing import replace
from wherry_protocol.version import Version

from wherry_agent.core import acceptance, candidates
from wherry_agent.core import trial as trials
from wherry_agent.core.effects import (
    Forgive,
    MakePermanent,
    Punish,
    Release,
    Remember,
    SelfTest,
    Swap,
    UnwatchTrial,
)
from wherry_agent.core.inputs import (
    Figures,
    SelfTested,
    StepFailed,
    Ticked,
)
from wherry_agent.core.model import (
    NOT_THE_BUNDLE,
    REASON_MAX,
    ModelState,
    Result,
    Surroundings,
    active_of,
    manifest_of,
    tell_of,
    trial_of,
)
from wherry_agent.core.record import ModelRecord
from wherry_agent.core.trial import Judgement, Verdict

# --- the trial


def judge_figures(state: ModelState, given: Figures, around: Surroundings) -> Result:
    """A breach reverts at once. What is good is only counted, and the next tick confirms: where the
    disk does not take the confirmation, the count stays."""
    trial = trial_of(state)
    verdict = trials.judge_figures(trial.limits, given)
    counted = replace(state, trial=replace(trial, good_count=given.good_count))
    if verdict.judgement is Judgement.REVERT:
        return revert(counted, verdict, around)
    return counted, ()


def judge_time(state: ModelState, given: Ticked, around: Surroundings) -> Result:
    return _follow(state, trials.judge(trial_of(state), around.now_us), around)


def _follow(state: ModelState, verdict: Verdict, around: Surroundings) -> Result:
    if verdict.judgement is Judgement.GO_ON:
        return state, ()
    if verdict.judgement is Judgement.CONFIRM:
        return confirm(state, around)
    if verdict.judgement is Judgement.REVERT:
        return revert(state, verdict, around)
    asked = replace(state, trial=replace(trial_of(state), is_golden_asked=True))
    digest = active_of(state).manifest_digest
    return asked, (SelfTest(around.unit, state.model, digest),)


def judge_golden_again(state: ModelState, given: SelfTested, around: Surroundings) -> Result:
    """The trial's time is up, inputs were rare: the golden vectors decide."""
    if given.passed == given.count and given.count > 0:
        return confirm(state, around)
    text = f"{given.passed} of {given.count} golden vectors came out at the end of the trial"
    return revert(state, Verdict(Judgement.REVERT, Code.GOLDEN_MISMATCH, text), around)


def confirm(state: ModelState, around: Surroundings) -> Result:
    manifest = manifest_of(state)
    floor = max(state.record.floor, manifest.security_floor, key=Version.parse)
    record = replace(
        state.record,
        trial=None,
        outcome=Outcome.CONFIRMED,
        code=Code.OK,
        reason="",
        floor=floor,
        active=replace(active_of(state), good_inferences=trial_of(state).good_count),
    )
    digest = active_of(state).manifest_digest
    kept = _kept_loaded(record, manifest, around)
    record = replace(record, is_previous_released=kept is None)
    confirmed = ModelState(record=record)
    text = f"{state.model} {manifest.version}: confirmed"
    return confirmed, (
        Forgive(digest),
        Remember(),
        UnwatchTrial(around.unit, state.model),
        MakePermanent(around.unit, state.model, digest, kept),
        tell_of(state, Kind.CONFIRMED, Severity.INFO, text),
    )


def _kept_loaded(record: ModelRecord, manifest: Manifest, around: Surroundings) -> bytes | None:
    """The way back, if the unit can hold it loaded and has the memory beside what serves."""
    previous = candidates.loaded_previous(record)
    if previous is None or around.previous is None or around.has_two_slots:
        return None
    is_room = acceptance.do_fit((manifest, around.previous), around.fit)
    return previous.manifest_digest if is_room else None


def revert(
    state: ModelState, verdict: Verdict, around: Surroundings, *, is_punished: bool = True
) -> Result:
    """Rule 4: the pointer first, then the record."""
    bad = active_of(state)
    back = state.record.previous
    record = replace(
        state.record,
        active=back,
        previous=None,
        is_previous_released=False,
        trial=None,
        outcome=Outcome.REVERTED,
        code=verdict.code,
        reason=verdict.reason[:REASON_MAX],
    )
    punishment = (Punish(bad.manifest_digest),) if is_punished else ()
    return ModelState(record=record), (
        Swap(around.unit, state.model, back.manifest_digest if back else None),
        UnwatchTrial(around.unit, state.model),
        *punishment,
        Remember(),
        Release(around.unit, state.model, bad.manifest_digest),
        tell_of(state, Kind.REVERTED, Severity.ERROR, verdict.reason, verdict.code),
    )


def revert_failed_step(state: ModelState, given: StepFailed, around: Surroundings) -> Result:
    """Loading, swapping or testing failed on the bundle that is on trial."""
    verdict = Verdict(Judgement.REVERT, given.code, given.text)
    return revert(state, verdict, around, is_punished=given.code not in NOT_THE_BUNDLE)
