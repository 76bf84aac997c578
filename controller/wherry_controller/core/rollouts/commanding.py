"""What operators may ask for, and what it does. Each leaves an audit row with who and why."""

from typing import NoReturn

from wherry_protocol.errors import Code, StateError, WherryError

from wherry_controller.core.rollouts.advancing import leave_stage, reopen
from wherry_controller.core.rollouts.effects import Audit, Effect, Effects, Finished
from wherry_controller.core.rollouts.events import (
    Abort,
    Advance,
    Approve,
    Command,
    Event,
    Pause,
    Resume,
    Revert,
    Start,
    Widen,
)
from wherry_controller.core.rollouts.judging import AT_SUBSET, pause
from wherry_controller.core.rollouts.members import IN_FLIGHT, MemberPhase, ReturnSignal, Signal
from wherry_controller.core.rollouts.report import report
from wherry_controller.core.rollouts.returning import send_back, start_reverting
from wherry_controller.core.rollouts.state import (
    Rollout,
    State,
    enter,
    signal_member,
    signal_return,
)
from wherry_controller.core.subset import WHOLE_BP


def refuse(rollout: Rollout, event: Event, _now_s: float) -> NoReturn:
    """The command does not fit the state. Raises StateError."""
    raise StateError(
        f"rollout {rollout.rollout_id} is {rollout.state.value}"
        f" ({rollout.state_reason or 'as made'}), it cannot {type(event).__name__.lower()} now"
    )


def ignore(_rollout: Rollout, _event: Event, _now_s: float) -> Effects:
    """Nothing follows from it in this state."""
    return []


def _audited(rollout: Rollout, event: Command, action: str) -> Effect:
    return Audit(rollout.rollout_id, event.operator, f"rollout.{action}", event.reason)


def approve(rollout: Rollout, event: Approve, _now_s: float) -> Effects:
    """Somebody who may lets it start."""
    enter(rollout, State.APPROVED, f"approved by {event.operator}")
    rollout.progress.approved_by = event.operator
    return [_audited(rollout, event, "approve")]


def start(rollout: Rollout, event: Start, now_s: float) -> Effects:
    """Begin with the first stage."""
    enter(rollout, State.RUNNING, f"started by {event.operator}")
    rollout.progress.started_s = now_s
    return [_audited(rollout, event, "start")]


def pause_by(rollout: Rollout, event: Pause, _now_s: float) -> Effects:
    """Offer nothing more; what is under way goes on and is watched."""
    return pause(rollout, event.operator, event.reason)


def resume(rollout: Rollout, event: Resume, now_s: float) -> Effects:
    """Go on. Raises StateError at the subset's end, where only widening goes on."""
    if rollout.state_reason == AT_SUBSET:
        share = rollout.progress.subset_bp / 100
        raise StateError(
            f"rollout {rollout.rollout_id} stands at its subset of {share:g} %; widen it to go on"
        )
    enter(rollout, State.RUNNING, f"resumed by {event.operator}")
    rollout.progress.silent_accepted = rollout.counts[MemberPhase.SILENT]
    rollout.progress.resumed_s = now_s
    return [_audited(rollout, event, "resume")]


def widen(rollout: Rollout, event: Widen, _now_s: float) -> Effects:
    """Raise the subset; a rollout that stood at it goes on, no confirmed device is touched."""
    progress = rollout.progress
    if not progress.subset_bp < event.share_bp <= WHOLE_BP:
        raise StateError(
            f"rollout {rollout.rollout_id} is at {progress.subset_bp / 100:g} %, widening needs"
            f" more than that and at most 100 %, not {event.share_bp / 100:g} %"
        )
    if rollout.state is State.PAUSED and rollout.state_reason == AT_SUBSET:
        reopen(rollout)
        enter(rollout, State.RUNNING, f"widened by {event.operator}")
    progress.subset_bp = event.share_bp
    return [_audited(rollout, event, f"widen to {event.share_bp / 100:g} %")]


def advance(rollout: Rollout, event: Advance, _now_s: float) -> Effects:
    """Leave the open stage now. Raises StateError where the last one is still under way."""
    progress = rollout.progress
    _require_reason(event)
    if progress.stage_opened_s is None:
        raise StateError(f"rollout {rollout.rollout_id}: its next stage is not open yet")
    if progress.opened_bp >= progress.subset_bp and progress.settled_s is None:
        raise StateError(
            f"rollout {rollout.rollout_id}: its last stage is open and"
            f" {rollout.in_flight} devices are under way; await or abort them"
        )
    return leave_stage(rollout, event.operator, f"advanced: {event.reason}")


def abort(rollout: Rollout, event: Abort, now_s: float) -> Effects:
    """Stop the spread. What swapped stays; what was offered and did not swap is withdrawn."""
    _require_reason(event)
    enter(rollout, State.ABORTED, f"aborted by {event.operator}: {event.reason}")
    effects: Effects = [_audited(rollout, event, "abort")]
    for unit in rollout.order[: rollout.progress.offer_index]:
        member = rollout.members[unit]
        if member.phase in IN_FLIGHT and not member.has_swapped:
            signal_member(rollout, member, Signal.PASSED_OVER, "aborted")
            signal_return(rollout, member, ReturnSignal.QUEUE)
            effects.append(send_back(rollout, member, now_s))
    return [*effects, Finished(rollout.rollout_id, rollout.state.value, report(rollout))]


def revert(rollout: Rollout, event: Revert, now_s: float) -> Effects:
    """Send everybody who was touched back."""
    _require_reason(event)
    return start_reverting(rollout, event.operator, event.reason, now_s)


def _require_reason(event: Command) -> None:
    if not event.reason.strip():
        raise WherryError(f"{type(event).__name__.lower()} needs a reason", Code.INVALID)
