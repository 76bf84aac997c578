"""What follows from the state of things, after every event: stages, offers, the end.

Rules, in order:
1. What speaks against the rollout comes first (`judging`).
2. A stage is left when its members have settled, its soak has passed, its gate has passed and
   the next stage's time has come.
3. Only members of the opened stages are ever offered anything.
4. A rollout in which nobody confirmed (or is ready, where nothing is to serve) has not succeeded,
   and nothing is switched to where nobody is ready.
5. A stage that is opened by hand waits for it, however long.
6. What an abort takes back and a decommission unloads goes out at the pace of offers: each costs
   the one writer a signed document. Who has begun to serve meanwhile keeps it.
"""

import heapq
from typing import Final

from wherry_protocol.messages.desired import Mode

from wherry_controller.core.gates.checks import is_passed
from wherry_controller.core.plans.pace import OFFERS_MAX_PER_S, allowed_by
from wherry_controller.core.plans.schedule import (
    is_over,
    opens_in_s,
    patience_s,
    window_of,
)
from wherry_controller.core.plans.stages import CANDIDATE, SERVING, Action, serves
from wherry_controller.core.rollouts.drafting import ALREADY_RUNNING
from wherry_controller.core.rollouts.effects import (
    Assign,
    Audit,
    Effect,
    Effects,
    Finished,
    Notify,
    Release,
)
from wherry_controller.core.rollouts.judging import (
    AT_SUBSET,
    GUARD,
    guard,
    is_check_due,
    pause,
    run_checks,
)
from wherry_controller.core.rollouts.members import (
    IN_FLIGHT,
    Member,
    MemberPhase,
    Return,
    ReturnSignal,
    Signal,
    next_first,
    served_last,
    was_given,
)
from wherry_controller.core.rollouts.readiness import ready_at_s
from wherry_controller.core.rollouts.report import check_row, report, waiting_for
from wherry_controller.core.rollouts.returning import bring_back, expire_returns, send_back
from wherry_controller.core.rollouts.state import (
    ACTIVE,
    WINDING,
    Progress,
    Rollout,
    State,
    enter,
    signal_member,
    signal_return,
    stage_of,
)
from wherry_controller.core.subset import WHOLE_BP, count_of

MODES: Final = {
    Action.SWAP: Mode.ACTIVE,
    Action.SWITCH: Mode.ACTIVE,
    Action.WARM: Mode.WARM,
    Action.SHADOW: Mode.SHADOW,
}


def follow_up(rollout: Rollout, now_s: float) -> Effects:
    """Everything that is due now."""
    effects: Effects = []
    if rollout.state in ACTIVE:
        effects += guard(rollout, now_s)
    if rollout.state is State.RUNNING:
        effects += go_on(rollout, now_s)
    if rollout.state is State.REVERTING:
        effects += bring_back(rollout, now_s)
    if rollout.state in WINDING:
        effects += wind_down(rollout, now_s)
    return effects


def may_be_due(rollout: Rollout) -> bool:
    """May something be due since a member moved, at a moment at which everything else has followed?
    Failures, silence, a retry that comes too late, a place that became free, or the stage's end."""
    counts, progress = rollout.counts, rollout.progress
    if rollout.failed or counts[MemberPhase.HELD] or rollout.plan.parallel_max:
        return True
    if counts[MemberPhase.SILENT] > progress.silent_accepted:
        return True
    return progress.settled_s is None and is_settled(rollout)


def go_on(rollout: Rollout, now_s: float) -> Effects:
    """Open the stage that is due, offer, settle, and leave it when it is done (rule 2)."""
    effects: Effects = []
    expire_returns(rollout, now_s)
    while rollout.state is State.RUNNING:
        effects += _open_stage(rollout, now_s)
        effects += offer(rollout, now_s)
        if rollout.progress.settled_s is None and is_settled(rollout):
            rollout.progress.settled_s = now_s
        if is_check_due(rollout, now_s):
            effects += run_checks(rollout, now_s)
        if rollout.state is not State.RUNNING or not may_leave(rollout, now_s):
            break
        effects += leave_stage(rollout, GUARD, "its soak and gate have passed")
    if rollout.state is State.RUNNING:
        effects += _watch_deadline(rollout, now_s)
    return effects


def _open_stage(rollout: Rollout, now_s: float) -> Effects:
    progress = rollout.progress
    if progress.stage_opened_s is not None or progress.started_s is None:
        return []
    stage = stage_of(rollout)
    if now_s < progress.started_s + stage.not_before_s or awaits_hand(rollout):
        return []
    progress.opened_bp = min(stage.share_bp, progress.subset_bp)
    progress.opened_count = count_of(progress.opened_bp, len(rollout.order))
    progress.stage_opened_s = now_s
    progress.stage_offers = 0
    progress.next_check_s = now_s + rollout.plan.gate.interval_s
    progress.checked_s = None
    rollout.checks = ()
    why = f"{progress.opened_bp / 100:g} % of {len(rollout.order)}: {progress.opened_count} units"
    why += "" if stage.action is Action.SWAP else f" ({stage.action.value})"
    evidence = {
        "stage": progress.stage_index + 1,
        "units": progress.opened_count,
        "action": stage.action.value,
    }
    return [Audit(rollout.rollout_id, GUARD, "rollout.stage", why, evidence)]


def awaits_hand(rollout: Rollout) -> bool:
    """Is the stage one that somebody has to open, and nobody has (rule 5)?"""
    progress = rollout.progress
    return stage_of(rollout).is_manual and progress.triggered_index < progress.stage_index


def offer(rollout: Rollout, now_s: float) -> Effects:
    """What the stage does to its members, as many as may be under way (rule 3)."""
    progress, plan = rollout.progress, rollout.plan
    effects: Effects = []
    if progress.stage_opened_s is None:
        return effects
    burst = _room_in_burst(progress, now_s)
    is_anybody_due = progress.offer_index < progress.opened_count or rollout.retries
    if burst <= 0 or not is_anybody_due or not may_serve_now(rollout, now_s):
        return effects
    room = plan.parallel_max - rollout.in_flight if plan.parallel_max else len(rollout.order)
    room = int(min(room, allowed_by(plan.ramp, now_s - progress.stage_opened_s)
                   - progress.stage_offers, burst))  # fmt: skip
    while room > 0 and rollout.retries and rollout.retries[0][0] <= rollout.link.read(now_s):
        _, index = heapq.heappop(rollout.retries)
        member = rollout.members[rollout.order[index]]
        if member.phase is MemberPhase.HELD and signal_member(rollout, member, Signal.OFFER):
            effects.append(_assign(rollout, member, now_s))
            progress.burst_offers += 1
            room -= 1
    while progress.offer_index < progress.opened_count and room > 0:
        member = rollout.members[rollout.order[progress.offer_index]]
        progress.offer_index += 1
        progress.touched_index = max(progress.touched_index, progress.offer_index)
        effect = _treat(rollout, member, now_s)
        if effect is not None:
            effects.append(effect)
            progress.stage_offers += 1
            progress.burst_offers += 1
            room -= 1
    return effects


def _room_in_burst(progress: Progress, now_s: float) -> int:
    """How many offers this second still has room for; a new one begins with the first after it."""
    if not 0 <= now_s - progress.burst_s < 1.0:
        progress.burst_s, progress.burst_offers = now_s, 0
    return OFFERS_MAX_PER_S - progress.burst_offers


def may_serve_now(rollout: Rollout, now_s: float) -> bool:
    """May the stage do now what it does: may devices begin to serve, where they would?"""
    if stage_of(rollout).action not in SERVING:
        return True
    schedule = rollout.plan.schedule
    return not opens_in_s(schedule, now_s) and not is_over(schedule, now_s)


def is_anybody_left(rollout: Rollout) -> bool:
    """Is there a device that is yet to be offered what would serve there?"""
    progress, here = rollout.progress, stage_of(rollout).action
    ahead = rollout.plan.stages[progress.stage_index + 1 :]
    if here not in SERVING:
        return serves(ahead)
    everybody = count_of(progress.subset_bp, len(rollout.order))
    return progress.offer_index < everybody or bool(rollout.counts[MemberPhase.HELD])


def _treat(rollout: Rollout, member: Member, now_s: float) -> Effect | None:
    """What is done to one member; None: nothing."""
    action = stage_of(rollout).action
    if action is Action.DECOMMISSION:
        return decommissioned(rollout, member, now_s, is_purged=rollout.plan.is_purged)
    if action is Action.SWITCH and member.phase is not MemberPhase.READY:
        return None
    if not signal_member(rollout, member, Signal.OFFER):
        return None
    member.offered = action
    return _assign(rollout, member, now_s)


def wind_down(rollout: Rollout, now_s: float) -> Effects:
    """After the end: take back or unload, as many as this second has room for (rule 6)."""
    expire_returns(rollout, now_s)
    progress = rollout.progress
    if not progress.is_draining:
        return []
    effects: Effects = []
    room = _room_in_burst(progress, now_s)
    while progress.drain_index < progress.touched_index and room > 0:
        member = rollout.members[rollout.order[progress.drain_index]]
        progress.drain_index += 1
        if rollout.state is State.ABORTED:
            effect = _withdrawn(rollout, member, now_s)
        else:
            effect = decommissioned(rollout, member, now_s, is_purged=progress.is_purging)
        if effect is not None:
            effects.append(effect)
            progress.burst_offers += 1
            room -= 1
    if progress.drain_index < progress.touched_index:
        return effects
    progress.is_draining = False
    if rollout.state is State.ABORTED:
        effects.append(Finished(rollout.rollout_id, rollout.state.value, report(rollout)))
    return effects


def _withdrawn(rollout: Rollout, member: Member, now_s: float) -> Effect | None:
    if not is_withdrawn_by_abort(member):
        return None
    signal_member(rollout, member, Signal.PASSED_OVER, "aborted")
    signal_return(rollout, member, ReturnSignal.QUEUE)
    return send_back(rollout, member, now_s)


def is_withdrawn_by_abort(member: Member) -> bool:
    """What was offered and does not serve is taken back: also a candidate that stands, one that a
    silent device may still make (or a version in between that it may still take), and what an
    isolated one would install when it is released."""
    if member.way_back is not Return.NONE or not was_given(member):
        return False
    if member.phase in (*IN_FLIGHT, MemberPhase.HELD, MemberPhase.SKIPPED):
        return not member.has_swapped
    if member.phase is MemberPhase.SILENT and next_first(member) is not None:
        return True  # what it may still install is not what the rollout was to bring
    stands = member.phase in (MemberPhase.READY, MemberPhase.SILENT)
    return stands and member.offered in CANDIDATE


def is_to_come_back(rollout: Rollout, member: Member) -> bool:
    """Is it on its way back, or is something to be taken back there that is not reached yet?"""
    if member.way_back in (Return.QUEUED, Return.SENT):
        return True
    progress = rollout.progress
    if not progress.is_draining or member.index < progress.drain_index:
        return False
    return rollout.state is not State.ABORTED or is_withdrawn_by_abort(member)


def decommissioned(
    rollout: Rollout, member: Member, now_s: float, *, is_purged: bool
) -> Effect | None:
    """Unload what does not serve there: the former version, or a candidate that will not serve."""
    if member.way_back is not Return.NONE:
        return None
    former = served_last(member)
    if member.phase is MemberPhase.CONFIRMED and former is not None:
        return (
            Release(rollout.rollout_id, member.unit, rollout.model, former, is_purged)
            if former != rollout.digest
            else None
        )
    if member.offered in CANDIDATE and member.phase in (MemberPhase.READY, MemberPhase.SILENT):
        signal_return(rollout, member, ReturnSignal.QUEUE)
        return send_back(rollout, member, now_s)
    return None


def _assign(rollout: Rollout, member: Member, now_s: float) -> Assign:
    schedule = rollout.plan.schedule
    waits_s = patience_s(schedule, now_s) if member.offered in SERVING else 0.0
    member.deadline_s = rollout.link.read(now_s) + rollout.plan.silent_after_s + max(0.0, waits_s)
    heapq.heappush(rollout.deadlines, (member.deadline_s, member.index))
    return Assign(
        rollout.rollout_id,
        member.unit,
        rollout.model,
        next_first(member) or rollout.digest,
        MODES[member.offered],
        rollout.terms[member.hardware_class].trial,
        rollout.plan.attempt + member.tries,
        rollout.plan.inference_deadline_us,
        rollout.plan.sampling_bp,
        window_of(schedule) if member.offered in SERVING else None,
    )


def is_settled(rollout: Rollout) -> bool:
    """Have the opened members ended? The last share wants all; before it, the share of the
    online ones that the plan says, and few offline."""
    progress, plan = rollout.progress, rollout.plan
    if progress.stage_opened_s is None or progress.offer_index < progress.opened_count:
        return False
    under_way = rollout.under_way
    if stage_of(rollout).action is Action.DECOMMISSION:
        return not rollout.returns[Return.SENT]
    if progress.opened_bp >= progress.subset_bp:
        return under_way == 0
    offline = rollout.offline_in_flight
    online = rollout.touched - offline
    is_few_offline = offline <= plan.offline_share_max * progress.opened_count
    return is_few_offline and under_way - offline <= (1 - plan.settled_share) * online


def may_leave(rollout: Rollout, now_s: float) -> bool:
    """Soaked, its gate passed after that, and the next stage's time has come."""
    ready_s = ready_at_s(rollout)
    if ready_s is None or now_s < ready_s:
        return False
    progress, plan = rollout.progress, rollout.plan
    if not plan.stages[progress.stage_index].is_gated or _is_all_there(rollout):
        return True
    is_fresh = progress.checked_s is not None and progress.checked_s >= ready_s
    return is_fresh and is_passed(rollout.checks, plan.gate.require)


def leave_stage(rollout: Rollout, who: str, why: str) -> Effects:
    """On to the next stage; at the subset's end pause, at the fleet's end succeed."""
    progress = rollout.progress
    effects: Effects = [
        Audit(
            rollout.rollout_id,
            who,
            "rollout.stage-done",
            why,
            {
                "stage": progress.stage_index + 1,
                "checks": [check_row(check) for check in rollout.checks],
            },
        )
    ]
    is_last = progress.stage_index == len(rollout.plan.stages) - 1
    is_same = is_last or (
        rollout.plan.stages[progress.stage_index + 1].action is stage_of(rollout).action
    )
    if is_same and progress.opened_bp < progress.subset_bp:
        reopen(rollout)
        return effects
    if stage_of(rollout).action is not Action.DECOMMISSION and _is_nobody_there(rollout):
        what = "is ready" if stage_of(rollout).action in CANDIDATE else "has confirmed"
        return effects + pause(rollout, GUARD, f"no device {what}")
    if not is_same:
        reopen(rollout)
        return effects
    if progress.subset_bp < WHOLE_BP:
        return effects + pause(rollout, GUARD, AT_SUBSET)
    return effects + _succeed(rollout)


def _is_nobody_there(rollout: Rollout) -> bool:
    """Has the stage brought the bundle to nobody (rule 4)?"""
    is_candidate = stage_of(rollout).action in CANDIDATE
    goal = MemberPhase.READY if is_candidate else MemberPhase.CONFIRMED
    return not rollout.counts[goal] and not _is_all_there(rollout)


def _is_all_there(rollout: Rollout) -> bool:
    """Did every opened unit run the bundle before the rollout began?"""
    opened = rollout.order[: rollout.progress.opened_count]
    return all(rollout.members[unit].reason == ALREADY_RUNNING for unit in opened)


def reopen(rollout: Rollout) -> None:
    """Make the next share due: the same stage if the subset had cut it, else the next."""
    progress = rollout.progress
    action = stage_of(rollout).action
    if progress.opened_bp >= stage_of(rollout).share_bp:
        progress.stage_index += 1
    if stage_of(rollout).action is not action:
        progress.offer_index = 0  # it does something else to the same members
    progress.stage_opened_s = None
    progress.settled_s = None


def _succeed(rollout: Rollout) -> Effects:
    is_served = serves(rollout.plan.stages)
    goal = MemberPhase.CONFIRMED if is_served else MemberPhase.READY
    ended = "confirmed" if is_served else "ran it and never served it"
    why = f"{rollout.counts[goal]} of {len(rollout.order)} devices {ended}"
    enter(rollout, State.SUCCEEDED, why)
    text = f"{rollout.model} {rollout.version}: {why}"
    return [
        Audit(rollout.rollout_id, GUARD, "rollout.succeed", why, report(rollout)),
        Notify(rollout.rollout_id, "info", "succeeded", text),
        Finished(rollout.rollout_id, rollout.state.value, report(rollout)),
    ]


def _watch_deadline(rollout: Rollout, now_s: float) -> Effects:
    if is_over(rollout.plan.schedule, now_s) and is_anybody_left(rollout):
        return pause(rollout, GUARD, "the time in which devices may swap is over")
    opened_s = rollout.progress.stage_opened_s
    watched_s = max(opened_s or 0.0, rollout.progress.resumed_s)
    if opened_s is None or now_s - watched_s < rollout.plan.stage_after_s_max:
        return []
    waits = "; ".join(waiting_for(rollout, now_s))
    why = f"stage {rollout.progress.stage_index + 1} is open for too long, waiting for: {waits}"
    return pause(rollout, GUARD, why)
