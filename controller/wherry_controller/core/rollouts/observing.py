"""What observations change. None of these decides anything: `advancing` does, right after."""

import heapq
from typing import Final

from wherry_protocol.codec import Unknown
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome, Phase

from wherry_controller.core.gates.experiment import Variant
from wherry_controller.core.gates.pools import Arm, Figures
from wherry_controller.core.plans.pace import PASSING, wait_s
from wherry_controller.core.plans.stages import CANDIDATE
from wherry_controller.core.rollouts.drafting import ALREADY_RUNNING
from wherry_controller.core.rollouts.effects import Effects
from wherry_controller.core.rollouts.events import (
    Assigned,
    Crashed,
    LinkChanged,
    Memory,
    Metric,
    Observed,
    PassedOver,
    Performance,
    Prepared,
    Presence,
    Shadowed,
    Tick,
)
from wherry_controller.core.rollouts.members import (
    IN_FLIGHT,
    Member,
    MemberPhase,
    Return,
    ReturnSignal,
    Signal,
    next_first,
)
from wherry_controller.core.rollouts.state import (
    ACTIVE,
    WINDING,
    Rollout,
    State,
    is_on_new,
    is_winding_down,
    set_online,
    set_relapsed,
    signal_member,
    signal_return,
)

EXPERIMENT: Final = "ab"  # the strategy
BACK_LATE: Final = "back late"
CRASH_CODES: Final = (Code.ENGINE_CRASH, Code.UNCONFIRMED_STARTS)
LATE: Final = frozenset({Signal.PROVED, Signal.READIES})
OUTCOME_SIGNALS: Final = {Outcome.REJECTED: Signal.REJECTS, Outcome.REVERTED: Signal.REVERTS}
PHASE_SIGNALS: Final = {
    Phase.FETCHING: Signal.FETCHES,
    Phase.VERIFYING: Signal.FETCHES,
    Phase.STAGED: Signal.STAGES,
    Phase.SELF_TESTING: Signal.STAGES,
    Phase.TRIAL: Signal.TRIES,
}


def assigned(rollout: Rollout, event: Assigned, _now_s: float) -> Effects:
    """Learn the id under which the unit will report."""
    member = rollout.members.get(event.unit)
    if member is None:
        return []
    rollout.changed.add(member.unit)
    if member.way_back is Return.SENT:
        member.return_assignment_id = event.assignment_id
        _withdrawn(rollout, member)
        return []
    member.assignment_id = event.assignment_id
    if member.first_done:
        return []  # what it ran before the rollout is known
    member.before = event.before
    if event.history is not None:
        rollout.pools.add(Arm.BEFORE, member.hardware_class, 0, member.unit, event.history)
    return []


def _withdrawn(rollout: Rollout, member: Member) -> None:
    """A unit that ran nothing before cannot prove that it is back."""
    if member.before is None and (member.has_swapped or member.has_served_first):
        reason = "it ran no model before, so the new one stays: isolate it or assign another"
        signal_return(rollout, member, ReturnSignal.FAILED, reason)
    elif member.before is None:
        signal_return(rollout, member, ReturnSignal.PROVED)


def passed_over(rollout: Rollout, event: PassedOver, _now_s: float) -> Effects:
    """Somebody of higher authority decides for this unit, or it cannot take the bundle."""
    member = rollout.members.get(event.unit)
    if member is None:
        return []
    if member.way_back is not Return.NONE:
        # An abort takes back what does not serve: whoever replaced that has done it for us. A
        # revert takes off what is bad, so who was taken on the way is named, but for one that was
        # somebody else's before.
        is_settled = rollout.state in WINDING or member.phase is MemberPhase.SKIPPED
        is_done = event.is_taken and is_settled
        signal = ReturnSignal.PROVED if is_done else ReturnSignal.FAILED
        signal_return(rollout, member, signal, event.reason)
    elif event.is_failure and member.phase is MemberPhase.CONFIRMED:
        _relapse(rollout, member, event.reason)
    else:
        passing = Signal.REVERTS if event.is_failure else Signal.PASSED_OVER
        signal_member(rollout, member, passing, event.reason)
        stays = event.is_isolated or (member.first_done and not event.is_taken)
        if member.phase is MemberPhase.SKIPPED and not stays:
            member.assignment_id = None  # another one takes its place
    return []


def prepared(rollout: Rollout, event: Prepared, _now_s: float) -> Effects:
    """Note what a unit is brought first."""
    member = rollout.members.get(event.unit)
    if member is not None and member.phase is MemberPhase.PENDING:
        member.first = event.first
        rollout.changed.add(member.unit)
    return []


def _relapse(rollout: Rollout, member: Member, reason: str) -> bool:
    """Count a confirmed member's failure, once; True if it is new."""
    if member.has_relapsed:
        return False
    set_relapsed(rollout, member, reason)
    return True


def observed(rollout: Rollout, event: Observed, now_s: float) -> Effects:
    """Move a member along by what its unit reports of our assignment (others say nothing)."""
    member = rollout.members.get(event.unit)
    if member is None or event.assignment_id is None:
        return []
    if event.assignment_id == member.return_assignment_id:
        _observed_return(rollout, member, event)
        return []
    if event.assignment_id != member.assignment_id:
        return []
    if event.outcome is Outcome.REVERTED and event.running is None:
        _left(rollout, member)
    if (first := next_first(member)) is not None:
        _observed_first(rollout, member, event, first, now_s)
    else:
        _observed_member(rollout, member, event, now_s)
    return []


def _left(rollout: Rollout, member: Member) -> None:
    """It ran nothing before, went back to that by itself, and has nothing to come back from."""
    if member.has_swapped or member.has_served_first:
        member.has_swapped = member.has_served_first = False
        rollout.changed.add(member.unit)


def _observed_first(
    rollout: Rollout, member: Member, event: Observed, first: bytes, now_s: float
) -> None:
    """Of what it must have run first: nothing of it is a figure of the rollout's own version."""
    if member.phase not in IN_FLIGHT or isinstance(event.phase, Unknown):
        return
    if event.running == first and not member.has_served_first:
        member.has_served_first = True
        rollout.changed.add(member.unit)
    if event.outcome is Outcome.CONFIRMED:
        trial = rollout.plan.trial  # its own policy is the device's to hold
        has_served = event.good_inferences >= trial.good_inferences_min
        if event.running == first and (has_served or trial.may_confirm_by_golden):
            member.first_done += 1
            member.tries = 0  # the next version has second tries of its own
            _offer_again(rollout, member, "it has run what it must have run first", now_s)
        return
    failed = OUTCOME_SIGNALS.get(event.outcome) if isinstance(event.outcome, Outcome) else None
    if failed is None:
        seen = PHASE_SIGNALS.get(event.phase)
        if seen is not None:  # on trial it serves another version than ours
            signal_member(rollout, member, Signal.STAGES if seen is Signal.TRIES else seen)
        return
    if may_retry(rollout, member, failed, event.code):
        hold(rollout, member, event.reason, now_s)
    elif signal_member(rollout, member, failed, f"on what it must have run first: {event.reason}"):
        member.code = _number(event.code)


def _observed_member(rollout: Rollout, member: Member, event: Observed, now_s: float) -> None:
    signal = signal_of(rollout, member, event)
    if event.running == rollout.digest and not member.has_swapped:
        member.has_swapped = True
        rollout.changed.add(member.unit)
    _gave_back(rollout, member, event)
    if signal is None:
        return
    if member.phase is MemberPhase.SILENT:
        if signal in LATE and not member.is_late:
            member.is_late = True
            rollout.changed.add(member.unit)
        return
    if member.phase is MemberPhase.CONFIRMED and signal is Signal.REVERTS:
        if _relapse(rollout, member, event.reason):
            _count_crash(rollout, member.unit, member.hardware_class, event.code, now_s)
        return
    if may_retry(rollout, member, signal, event.code):
        hold(rollout, member, event.reason, now_s)
        return
    if signal_member(rollout, member, signal, event.reason):
        member.code = _number(event.code)
        if signal is Signal.REVERTS:
            _count_crash(rollout, member.unit, member.hardware_class, event.code, now_s)


def _gave_back(rollout: Rollout, member: Member, event: Observed) -> None:
    """A unit may go back from what it serves while our candidate stands beside it: then what it
    serves from there on is where it belongs."""
    if member.phase is not MemberPhase.READY:
        return
    if event.running not in (None, rollout.digest, member.before):
        member.before = event.running
        rollout.panel.shadow_anew(member.unit)
        rollout.changed.add(member.unit)


def may_retry(rollout: Rollout, member: Member, signal: Signal, code: Code | Unknown) -> bool:
    """Did it fail for a reason that passes, before it served, and has tries left?"""
    is_passing = signal is Signal.REJECTS and code in PASSING and not member.has_swapped
    return is_passing and member.phase in IN_FLIGHT and member.tries < rollout.plan.retries.count


def hold(rollout: Rollout, member: Member, reason: str, now_s: float) -> None:
    """Offer it again, later each time."""
    waits_s = wait_s(rollout.plan.retries, member.tries)
    member.tries += 1
    _offer_again(rollout, member, reason, now_s, waits_s)


def _offer_again(
    rollout: Rollout, member: Member, reason: str, now_s: float, waits_s: float = 0.0
) -> None:
    member.retry_s = rollout.link.read(now_s) + waits_s
    heapq.heappush(rollout.retries, (member.retry_s, member.index))
    signal_member(rollout, member, Signal.HOLDS, reason)


def signal_of(rollout: Rollout, member: Member, event: Observed) -> Signal | None:
    """What an observation means; None: nothing new, or a claim without its proof."""
    if isinstance(event.outcome, Unknown) or isinstance(event.phase, Unknown):
        return None
    if event.outcome is Outcome.CONFIRMED:
        return Signal.PROVED if is_proved(rollout, member, event) else None
    if event.outcome is Outcome.READY:
        stands = member.offered in CANDIDATE and event.candidate == rollout.digest
        return Signal.READIES if stands else None
    return OUTCOME_SIGNALS.get(event.outcome) or PHASE_SIGNALS.get(event.phase)


def is_proved(rollout: Rollout, member: Member, event: Observed) -> bool:
    """The digest runs and served its good inferences (or golden vectors, where allowed)."""
    trial = rollout.terms[member.hardware_class].trial
    has_served = event.good_inferences >= trial.good_inferences_min or trial.may_confirm_by_golden
    return event.running == rollout.digest and has_served


def _observed_return(rollout: Rollout, member: Member, event: Observed) -> None:
    if event.outcome is Outcome.CONFIRMED and event.running == member.before:
        if member.way_back is not Return.LOST:
            signal_return(rollout, member, ReturnSignal.PROVED)
        elif rollout.state is State.REVERTING or is_winding_down(rollout):
            signal_return(rollout, member, ReturnSignal.LATE, BACK_LATE)
        elif member.return_reason != BACK_LATE:  # the end was told; it is only noted
            member.return_reason = BACK_LATE
            rollout.changed.add(member.unit)
    elif event.outcome in OUTCOME_SIGNALS:
        signal_return(rollout, member, ReturnSignal.FAILED, event.reason or "it refused")


def presence(rollout: Rollout, event: Presence, _now_s: float) -> Effects:
    """A member's link came or went."""
    member = rollout.members.get(event.unit)
    if member is not None:
        set_online(rollout, member, event.is_online)
    return []


def performance(rollout: Rollout, event: Performance, now_s: float) -> Effects:
    """Count a window into its arm."""
    if rollout.state not in ACTIVE or event.hardware_class not in rollout.terms:
        return []
    member = rollout.members.get(event.unit)
    index = bucket_of(rollout, min(event.ended_s, now_s))
    _watch_experiment(rollout, event, now_s)
    if event.digest == rollout.digest:
        if member is not None and member.phase not in (MemberPhase.PENDING, MemberPhase.SKIPPED):
            rollout.pools.add(Arm.NEW, event.hardware_class, index, event.unit, event.figures)
            gate = rollout.plan.gate
            rollout.panel.new(event.unit, event.hardware_class, event.figures, gate)
        return []
    rollout.pools.add(Arm.CONTROL, event.hardware_class, index, event.unit, event.figures)
    rollout.panel.control(event.unit, event.figures)
    if member is not None and member.phase is not MemberPhase.SKIPPED:
        rollout.pools.add(Arm.BEFORE, event.hardware_class, 0, event.unit, event.figures)
    return []


def _watch_experiment(rollout: Rollout, event: Performance, now_s: float) -> None:
    """Count a member's window into its arm, where this is an experiment."""
    variant = variant_of(rollout, event.unit)
    is_its_own = (event.digest == rollout.digest) == (variant is Variant.TREATMENT)
    if variant is not None and is_its_own:
        rollout.panel.experiment.report(
            variant, event.unit, event.figures, min(event.ended_s, now_s), rollout.plan.gate
        )


def variant_of(rollout: Rollout, unit: str) -> Variant | None:
    """The arm of a member of an experiment; None for whoever takes no part."""
    member = rollout.members.get(unit)
    if member is None or rollout.plan.strategy != EXPERIMENT or member.reason == ALREADY_RUNNING:
        return None
    is_treated = member.index < rollout.progress.opened_count
    return Variant.TREATMENT if is_treated else Variant.CONTROL


def crashed(rollout: Rollout, event: Crashed, now_s: float) -> Effects:
    """Count a crash of the new version, and look at it at once."""
    if event.digest == rollout.digest and event.unit in rollout.members:
        _count_crash(rollout, event.unit, event.hardware_class, Code.ENGINE_CRASH, now_s)
    return []


def _count_crash(
    rollout: Rollout, unit: str, hardware_class: str, code: Code | Unknown, now_s: float
) -> None:
    if code in CRASH_CODES and rollout.state in ACTIVE:
        crash = Figures(0, crashes=1)
        rollout.pools.add(Arm.NEW, hardware_class, bucket_of(rollout, now_s), unit, crash)
        rollout.progress.next_check_s = now_s


def memory(rollout: Rollout, event: Memory, _now_s: float) -> Effects:
    """Note a member's memory, once it has swapped."""
    member = rollout.members.get(event.unit)
    if member is not None and member.has_swapped and event.budget_bytes > 0:
        member.memory_share = event.used_bytes / event.budget_bytes
        rollout.changed.add(member.unit)
    return []


def metric(rollout: Rollout, event: Metric, now_s: float) -> Effects:
    """A custom figure: of the rollout, or of units of which one is on the new version."""
    members = rollout.members
    units = event.units
    is_ours = units is None or any(u in members and is_on_new(members[u]) for u in units)
    if rollout.state in ACTIVE and is_ours:
        for rule in rollout.plan.gate.custom:
            if rule.name == event.name:
                rollout.panel.sample(rule, event.value, now_s)
    for unit in (units or ()) if rollout.state in ACTIVE else ():
        variant = variant_of(rollout, unit)
        is_treated = variant is Variant.TREATMENT
        if variant is not None and is_on_new(members[unit]) == is_treated:
            experiment = rollout.panel.experiment
            experiment.result(variant, unit, event.name, event.value, now_s)
    return []


def shadowed(rollout: Rollout, event: Shadowed, _now_s: float) -> Effects:
    """Count what a member's shadow showed of this bundle."""
    if rollout.state in ACTIVE and event.digest == rollout.digest and event.unit in rollout.members:
        rollout.panel.shadowed(event.unit, event.figures, rollout.plan.gate)
    return []


def link_changed(rollout: Rollout, event: LinkChanged, now_s: float) -> Effects:
    """Our own link: while it is down, nobody else is silent."""
    rollout.link.change(event.is_up, now_s)
    return []


def tick(rollout: Rollout, event: Tick, _now_s: float) -> Effects:
    """Time passes; learn how silent the control group is."""
    rollout.progress.control_units = event.control_units
    rollout.progress.control_silent = event.control_silent
    return []


def bucket_of(rollout: Rollout, at_s: float) -> int:
    """The time bucket of a moment."""
    return int(at_s // rollout.plan.gate.interval_s)


def _number(code: Code | Unknown) -> int:
    return code.value
