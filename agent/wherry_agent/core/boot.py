"""Boot: what is on disk, and what to do about it. One table; nothing else decides.

Rules:
1. Bytes that were damaged never serve; the other slot takes over.
2. A trial that has outlived its starts without confirmation is over: `previous` serves again.
3. Where nothing intact is left, the model serves nothing, and its assignment is forgotten, so
   that the controller's (retained) desired document installs it again.
4. A candidate that is damaged is dropped, and its assignment forgotten.
5. An assignment that had not ended when power went is forgotten too: it begins anew with what is
   on disk, as soon as its (retained) document is heard again.
6. A candidate that was ready is loaded again and stands. A shadow that has not run on one input in
   three starts is given up: it may be what ended them. A stop in good order does not count.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Mode
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.replacing import replace

from wherry_agent.core.record import ModelRecord, TrialRecord

SHADOW_STARTS_MAX: Final = 3


class Trying(Enum):
    """Where the trial stands when this start is counted."""

    NO_TRIAL = "no trial"
    GOES_ON = "goes on"
    EXHAUSTED = "starts exhausted"


class Action(Enum):
    SERVE_ACTIVE = "serve active"
    SERVE_IN_TRIAL = "serve active, its trial goes on"
    FALL_BACK_DAMAGED = "serve previous: active is damaged"
    FALL_BACK_UNCONFIRMED = "serve previous: too many starts without confirmation"
    SERVE_NOTHING_UNCONFIRMED = "serve nothing: unconfirmed, and no previous is intact"
    SERVE_NOTHING_DAMAGED = "serve nothing: no intact slot"


# (trial, is active intact, is previous intact) -> action
BOOT_TABLE: Final = {
    (Trying.NO_TRIAL, True, True): Action.SERVE_ACTIVE,
    (Trying.NO_TRIAL, True, False): Action.SERVE_ACTIVE,
    (Trying.NO_TRIAL, False, True): Action.FALL_BACK_DAMAGED,
    (Trying.NO_TRIAL, False, False): Action.SERVE_NOTHING_DAMAGED,
    (Trying.GOES_ON, True, True): Action.SERVE_IN_TRIAL,
    (Trying.GOES_ON, True, False): Action.SERVE_IN_TRIAL,
    (Trying.GOES_ON, False, True): Action.FALL_BACK_DAMAGED,
    (Trying.GOES_ON, False, False): Action.SERVE_NOTHING_DAMAGED,
    (Trying.EXHAUSTED, True, True): Action.FALL_BACK_UNCONFIRMED,
    (Trying.EXHAUSTED, True, False): Action.SERVE_NOTHING_UNCONFIRMED,
    (Trying.EXHAUSTED, False, True): Action.FALL_BACK_DAMAGED,
    (Trying.EXHAUSTED, False, False): Action.SERVE_NOTHING_DAMAGED,
}


@dataclass(frozen=True, slots=True)
class Booted:
    """A model's record after this start was counted, and what happened (OK: nothing)."""

    record: ModelRecord
    action: Action | None  # None: no slot was ever filled
    code: Code = Code.OK
    reason: str = ""


def trying(trial: TrialRecord | None) -> Trying:
    """Where the trial stands once this start is counted."""
    if trial is None:
        return Trying.NO_TRIAL
    is_over = trial.start_count + 1 >= trial.limits.unconfirmed_starts_max
    return Trying.EXHAUSTED if is_over else Trying.GOES_ON


def boot(record: ModelRecord, intact: frozenset[bytes]) -> Booted:
    """Apply the table; `intact` holds the manifest digests whose bytes were hashed and hold."""
    record = _with_shadow_start(_without_damaged_candidate(record, intact))
    if record.previous is not None and record.previous.manifest_digest not in intact:
        record = replace(record, is_previous_released=True)  # it is not one pointer away any more
    if record.outcome is Outcome.NONE and record.trial is None:
        record = _forget_assignment(record)
    if record.active is None:
        return Booted(record, None)
    previous = record.previous
    has_previous = previous is not None and previous.manifest_digest in intact
    key = (trying(record.trial), record.active.manifest_digest in intact, has_previous)
    action = BOOT_TABLE[key]
    return ACTIONS[action](record, action)


def _without_damaged_candidate(record: ModelRecord, intact: frozenset[bytes]) -> ModelRecord:
    candidate = record.candidate
    if candidate is None or candidate.manifest_digest in intact:
        return record
    return _forget_assignment(replace(record, candidate=None))


def _with_shadow_start(record: ModelRecord) -> ModelRecord:
    """Rule 6."""
    is_ready = record.candidate is not None and record.outcome is Outcome.READY
    if not is_ready or record.mode is not Mode.SHADOW:
        return record
    count = record.shadow_start_count + 1
    if count <= SHADOW_STARTS_MAX:
        return replace(record, shadow_start_count=count)
    return replace(
        record,
        candidate=None,
        shadow_start_count=0,
        outcome=Outcome.REJECTED,
        code=Code.UNCONFIRMED_STARTS,
        reason=f"{count} starts with it as a shadow, and it has not run on one input",
    )


def _forget_assignment(record: ModelRecord) -> ModelRecord:
    return replace(
        record, assignment_id=None, outcome=Outcome.NONE, code=Code.OK, reason="", trial=None
    )


def _serve(record: ModelRecord, action: Action) -> Booted:
    return Booted(record, action)


def _serve_in_trial(record: ModelRecord, action: Action) -> Booted:
    trial = record.trial
    if trial is None:
        raise RuntimeError("the boot table named a trial that is not there")
    counted = replace(trial, start_count=trial.start_count + 1)
    return Booted(replace(record, trial=counted), action)


def _fall_back_damaged(record: ModelRecord, action: Action) -> Booted:
    reason = "the active bundle was damaged on disk; the previous one serves"
    fallen = replace(_forget_assignment(record), active=record.previous, previous=None)
    return Booted(fallen, action, Code.DIGEST, reason)


def _unconfirmed_reason(record: ModelRecord) -> str:
    starts = record.trial.start_count + 1 if record.trial else 0
    return f"{starts} starts without confirmation"


def _end_unconfirmed(record: ModelRecord, action: Action) -> Booted:
    reason = _unconfirmed_reason(record)
    has_previous = action is Action.FALL_BACK_UNCONFIRMED
    reverted = replace(
        record,
        active=record.previous if has_previous else None,
        previous=None,
        trial=None,
        outcome=Outcome.REVERTED,
        code=Code.UNCONFIRMED_STARTS,
        reason=reason,
    )
    return Booted(reverted, action, Code.UNCONFIRMED_STARTS, reason)


def _serve_nothing_damaged(record: ModelRecord, action: Action) -> Booted:
    reason = "no intact bundle is left on disk; waiting for the controller to send one"
    empty = replace(_forget_assignment(record), active=None, previous=None)
    return Booted(empty, action, Code.DIGEST, reason)


ACTIONS: Final = {
    Action.SERVE_ACTIVE: _serve,
    Action.SERVE_IN_TRIAL: _serve_in_trial,
    Action.FALL_BACK_DAMAGED: _fall_back_damaged,
    Action.FALL_BACK_UNCONFIRMED: _end_unconfirmed,
    Action.SERVE_NOTHING_UNCONFIRMED: _end_unconfirmed,
    Action.SERVE_NOTHING_DAMAGED: _serve_nothing_damaged,
}
