"""What a rollout does next: the table of states and events, and `decide`, which walks it.

Rules, in order:
1. Who decides is in the table; a pair that is not allowed is refused in a sentence.
2. A state that has ended stays ended; what arrives later is recorded and decides nothing. Only
   an operator's Revert leaves SUCCEEDED or ABORTED.
3. After the event, whatever is due follows (`advancing`), so a Tick means: time passes. An event
   that concerns members alone can make little due that has not followed at this moment already
   (`advancing.may_be_due`), and where it cannot, nothing is asked for again.

Pure: the outcome depends on state, event and `now_s` (Unix seconds) alone. The rollout that is
handed in is spent: use the one that comes back. The shell keeps state, audit rows and effects in
one transaction, carries the effects out after it, and answers each Assign and SendBack with
Assigned or PassedOver before any other event of that unit.

    rollout, effects = decide(rollout, Start("ada", "first voyage"), now_s)
"""

from collections.abc import Callable
from typing import Any, Final

from wherry_controller.core.rollouts import commanding, observing
from wherry_controller.core.rollouts.advancing import follow_up, may_be_due
from wherry_controller.core.rollouts.commanding import ignore, refuse
from wherry_controller.core.rollouts.effects import Effects
from wherry_controller.core.rollouts.events import (
    COMMANDS,
    OBSERVATIONS,
    Abort,
    Advance,
    Approve,
    Assigned,
    Crashed,
    Decommission,
    Event,
    LinkChanged,
    Memory,
    Metric,
    Observed,
    PassedOver,
    Pause,
    Performance,
    Prepared,
    Presence,
    Resume,
    Revert,
    Shadowed,
    Start,
    Switch,
    Tick,
    Widen,
)
from wherry_controller.core.rollouts.judging import expire
from wherry_controller.core.rollouts.state import ACTIVE, Rollout, State

Rule = Callable[[Rollout, Any, float], Effects]

OBSERVING: Final[dict[type, Rule]] = {
    Assigned: observing.assigned,
    PassedOver: observing.passed_over,
    Prepared: observing.prepared,
    Observed: observing.observed,
    Presence: observing.presence,
    Performance: observing.performance,
    Crashed: observing.crashed,
    Memory: observing.memory,
    Metric: observing.metric,
    Shadowed: observing.shadowed,
    LinkChanged: observing.link_changed,
    Tick: observing.tick,
}

# What changes nothing but members, and what is known of them.
MOVING: Final = frozenset({Observed, Presence, Performance, Crashed, Memory, Metric, Shadowed})

# (state, event) -> rule
TRANSITIONS: Final[dict[tuple[State, type], Rule]] = {
    **{(state, command): refuse for state in State for command in COMMANDS},
    **{(state, event): OBSERVING[event] for state in State for event in OBSERVATIONS},
    (State.DRAFT, Approve): commanding.approve,
    (State.DRAFT, Abort): commanding.abort,
    (State.APPROVED, Start): commanding.start,
    (State.APPROVED, Abort): commanding.abort,
    (State.RUNNING, Pause): commanding.pause_by,
    (State.RUNNING, Abort): commanding.abort,
    (State.RUNNING, Revert): commanding.revert,
    (State.RUNNING, Widen): commanding.widen,
    (State.RUNNING, Advance): commanding.advance,
    (State.RUNNING, Switch): commanding.switch,
    (State.RUNNING, Decommission): commanding.not_yet,
    (State.PAUSED, Pause): commanding.pause_by,
    (State.PAUSED, Resume): commanding.resume,
    (State.PAUSED, Abort): commanding.abort,
    (State.PAUSED, Revert): commanding.revert,
    (State.PAUSED, Widen): commanding.widen,
    (State.PAUSED, Switch): commanding.switch_back,
    (State.SUCCEEDED, Revert): commanding.revert,
    (State.SUCCEEDED, Switch): commanding.switch_back,
    (State.SUCCEEDED, Decommission): commanding.decommission,
    (State.ABORTED, Revert): commanding.revert,
    # An emergency stop or a guard may say Pause to whatever it finds.
    (State.REVERTING, Pause): ignore,
}

# What each rule leads to, for diagrams and tests: (state, what happens) -> state.
LEADS: Final[dict[tuple[State, str], State]] = {
    (State.DRAFT, "Approve"): State.APPROVED,
    (State.DRAFT, "Abort"): State.ABORTED,
    (State.APPROVED, "Start"): State.RUNNING,
    (State.APPROVED, "Abort"): State.ABORTED,
    (State.RUNNING, "stage done"): State.RUNNING,
    (State.RUNNING, "Pause, subset reached, silence, stage deadline"): State.PAUSED,
    (State.PAUSED, "Resume, Widen"): State.RUNNING,
    (State.RUNNING, "last stage done"): State.SUCCEEDED,
    (State.RUNNING, "Revert, breach, failures, excess silence"): State.REVERTING,
    (State.PAUSED, "Revert, breach, failures, excess silence"): State.REVERTING,
    (State.RUNNING, "Switch back"): State.REVERTING,
    (State.PAUSED, "Switch back"): State.REVERTING,
    (State.SUCCEEDED, "Revert, Switch back"): State.REVERTING,
    (State.ABORTED, "Revert"): State.REVERTING,
    (State.REVERTING, "every device is back or named"): State.REVERTED,
    (State.RUNNING, "Abort"): State.ABORTED,
    (State.PAUSED, "Abort"): State.ABORTED,
}


def decide(rollout: Rollout, event: Event, now_s: float) -> tuple[Rollout, Effects]:
    """The rollout after the event, and what the shell must do.

    Raises StateError where the command does not fit the state (it has changed nothing then), and
    KeyError only if the table has a hole.
    """
    rule = TRANSITIONS[rollout.state, type(event)]
    if rule is not refuse and rollout.followed_s != now_s:
        expire(rollout, now_s)
    moves = rollout.moves
    effects = rule(rollout, event, now_s)
    if _has_followed(rollout, event, now_s) and not (
        rollout.moves != moves and may_be_due(rollout)
    ):
        return rollout, effects
    rollout.followed_s = now_s
    return rollout, effects + follow_up(rollout, now_s)


def _has_followed(rollout: Rollout, event: Event, now_s: float) -> bool:
    """Has all followed that is due at this moment whoever moves (rule 3)?"""
    is_known = type(event) in MOVING and rollout.followed_s == now_s
    return is_known and rollout.state in ACTIVE and now_s < rollout.progress.next_check_s
