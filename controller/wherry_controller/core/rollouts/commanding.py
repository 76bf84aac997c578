"""What operators may ask for, and what it does. Each leaves an audit row with who and why."""

from typing import Final, NoReturn

from wherry_protocol.errors import Code, StateError, WherryError

from wherry_controller.core.plans.stages import Action
from wherry_controller.core.rollouts.advancing import awaits_hand, leave_stage, reopen
from wherry_controller.core.rollouts.effects import Audit, Effect, Effects
from wherry_controller.core.rollouts.events import (
    Abort,
    Advance,
    Approve,
    Command,
    Decommission,
    Event,
    Pause,
    Resume,
    Revert,
    Start,
    Switch,
    Widen,
)
from wherry_controller.core.rollouts.judging import AT_SUBSET, pause
from wherry_controller.core.rollouts.lifecycle import GUARDS
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.core.rollouts.readiness import ready_at_s
from wherry_controller.core.rollouts.report import waiting_for
from wherry_controller.core.rollouts.returning import start_reverting
from wherry_controller.core.rollouts.slots import (
    has_switch,
    other_slot,
    serving_slot,
    slot_named,
)
from wherry_controller.core.rollouts.state import Rollout, State, enter, stage_of
from wherry_controller.core.subset import WHOLE_BP

BAKE: Final = "{id} bakes: {left:.0f} s are left, and its gate has to pass; decommission it then"


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
    if event.operator not in GUARDS:
        rollout.progress.accepted_s = now_s
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
    """Leave the open stage now, or open the one that waits for somebody.

    Raises StateError where the last one is still under way.
    """
    progress = rollout.progress
    _require_reason(event)
    if progress.stage_opened_s is None and awaits_hand(rollout):
        progress.triggered_index = progress.stage_index
        return [_audited(rollout, event, "trigger")]
    if progress.stage_opened_s is None:
        raise StateError(f"rollout {rollout.rollout_id}: its next stage is not open yet")
    if progress.opened_bp >= progress.subset_bp and progress.settled_s is None:
        raise StateError(
            f"rollout {rollout.rollout_id}: its last stage is open and"
            f" {rollout.in_flight} devices are under way; await or abort them"
        )
    return leave_stage(rollout, event.operator, f"advanced: {event.reason}")


def abort(rollout: Rollout, event: Abort, _now_s: float) -> Effects:
    """Stop the spread. What swapped stays; what was offered and did not swap is withdrawn."""
    _require_reason(event)
    enter(rollout, State.ABORTED, f"aborted by {event.operator}: {event.reason}")
    rollout.progress.is_draining = True
    return [_audited(rollout, event, "abort")]


def switch(rollout: Rollout, event: Switch, now_s: float) -> Effects:
    """Let the other slot serve: forward when it is staged, or back, at once.

    Raises StateError where another slot serves than the operator believes, or nothing is staged.
    """
    if not has_switch(rollout):
        raise StateError(f"rollout {rollout.rollout_id} is {rollout.plan.strategy}: no switch")
    serving = serving_slot(rollout)
    believed, wanted = slot_named(rollout, event.from_slot), slot_named(rollout, event.to_slot)
    if believed != serving or wanted != other_slot(serving):
        raise StateError(
            f"rollout {rollout.rollout_id}: {serving} serves, and not {believed};"
            f" nothing was switched (from {believed} to {wanted})"
        )
    if wanted != rollout.plan.slot:
        _require_reason(event)
        return start_reverting(rollout, event.operator, f"switched back: {event.reason}", now_s)
    if stage_of(rollout).action is not Action.SWITCH or not awaits_hand(rollout):
        waits = "; ".join(waiting_for(rollout, now_s))
        raise StateError(f"rollout {rollout.rollout_id}: {wanted} is not staged yet: {waits}")
    rollout.progress.triggered_index = rollout.progress.stage_index
    return [_audited(rollout, event, f"switch from {believed} to {wanted}")]


def switch_back(rollout: Rollout, event: Switch, now_s: float) -> Effects:
    """While it is paused, and after its end, only the way back is open."""
    if slot_named(rollout, event.to_slot) == rollout.plan.slot:
        refuse(rollout, event, now_s)
    return switch(rollout, event, now_s)


def not_yet(rollout: Rollout, event: Decommission, now_s: float) -> NoReturn:
    """What served before is kept until the bake has ended well. Raises StateError."""
    ready_s = ready_at_s(rollout)
    if not has_switch(rollout) or ready_s is None:
        refuse(rollout, event, now_s)
    raise StateError(BAKE.format(id=rollout.rollout_id, left=max(0.0, ready_s - now_s)))


def decommission(rollout: Rollout, event: Decommission, now_s: float) -> Effects:
    """Unload what served before, and candidates that never will. Raises StateError if it is."""
    if rollout.progress.decommissioned_s is not None:
        raise StateError(f"rollout {rollout.rollout_id} is decommissioned already")
    rollout.progress.decommissioned_s = now_s
    rollout.progress.is_draining, rollout.progress.is_purging = True, event.is_purged
    return [_audited(rollout, event, "decommission")]


def revert(rollout: Rollout, event: Revert, now_s: float) -> Effects:
    """Send everybody who was touched back."""
    _require_reason(event)
    return start_reverting(rollout, event.operator, event.reason, now_s)


def _require_reason(event: Command) -> None:
    if not event.reason.strip():
        raise WherryError(f"{type(event).__name__.lower()} needs a reason", Code.INVALID)
