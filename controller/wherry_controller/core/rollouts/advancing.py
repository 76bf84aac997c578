"""What follows from the state of things, after every event.

Rules, in order:
1. Devices whose deadline passed are silent (before the event is looked at).
2. Too many failures revert. Too much silence pauses; silence beyond the control group's reverts.
3. A breached gate reverts, in RUNNING and in PAUSED alike.
4. A stage is left when its members have settled, its soak has passed, its gate has passed and
   the next stage's time has come.
5. Only members of the opened stages are ever offered anything.
"""

import heapq
from collections.abc import Iterable, Mapping
from typing import Final

from wherry_protocol.messages.desired import Mode

from wherry_controller.core.rollouts.drafting import ALREADY_RUNNING
from wherry_controller.core.rollouts.effects import (
    Assign,
    Audit,
    Effects,
    Finished,
    Notify,
)
from wherry_controller.core.rollouts.gates import Check, Consequence, breaches, evaluate, is_passed
from wherry_controller.core.rollouts.members import Member, MemberPhase, Signal
from wherry_controller.core.rollouts.observing import bucket_of
from wherry_controller.core.rollouts.plan import Plan
from wherry_controller.core.rollouts.report import check_row, report, waiting_for
from wherry_controller.core.rollouts.returning import bring_back, start_reverting
from wherry_controller.core.rollouts.state import ACTIVE, Rollout, State, enter, signal_member
from wherry_controller.core.subset import WHOLE_BP, count_of

GUARD: Final = "rollout guard"
AT_SUBSET: Final = "at its subset"
SMALL_FLEET: Final = 20
FAILED_SHARE_BP: Final = 200
SILENT_UNITS_MIN: Final = 2  # one silent device pauses a small stage and never reverts it


def expire(rollout: Rollout, now_s: float) -> None:
    """Devices that were not done by their deadline are silent from here on (rule 1)."""
    clock_s = rollout.link.read(now_s)
    while rollout.deadlines and rollout.deadlines[0][0] <= clock_s:
        _, index = heapq.heappop(rollout.deadlines)
        member = rollout.members[rollout.order[index]]
        reason = f"not done within {rollout.plan.silent_after_s:g} s"
        signal_member(rollout, member, Signal.DEADLINE, reason)


def follow_up(rollout: Rollout, now_s: float) -> Effects:
    """Everything that is due now."""
    effects: Effects = []
    if rollout.state in ACTIVE:
        effects += guard(rollout, now_s)
    if rollout.state is State.RUNNING:
        effects += go_on(rollout, now_s)
    if rollout.state is State.REVERTING:
        effects += bring_back(rollout, now_s)
    return effects


def guard(rollout: Rollout, now_s: float) -> Effects:
    """Failures, silence and the gate's checks (rules 2 and 3)."""
    allowed = failures_allowed(rollout.plan, rollout.progress.opened_count)
    if rollout.failed > allowed:
        why = f"{rollout.failed} devices failed, {allowed} may"
        return start_reverting(rollout, GUARD, why, now_s, **_named_failures(rollout))
    effects = _guard_silence(rollout, now_s)
    if rollout.state in ACTIVE and is_check_due(rollout, now_s):
        effects += run_checks(rollout, now_s)
    return effects


def failures_allowed(plan: Plan, opened_count: int) -> int:
    """`max_failed` if the plan names it; else none of fewer than 20, or 2 % of the opened."""
    if plan.max_failed is not None:
        return plan.max_failed
    return 0 if opened_count < SMALL_FLEET else opened_count * FAILED_SHARE_BP // WHOLE_BP


def _named_failures(rollout: Rollout) -> dict[str, object]:
    return {"failed": report(rollout)["failed"]}


def _guard_silence(rollout: Rollout, now_s: float) -> Effects:
    progress, plan = rollout.progress, rollout.plan
    silent = rollout.counts[MemberPhase.SILENT]
    asked = rollout.touched
    if silent <= progress.silent_accepted or silent <= plan.silent_share_max * asked:
        return []
    share = silent / max(1, asked)
    has_control = progress.control_units >= plan.gate.control_units_min
    control = progress.control_silent / progress.control_units if has_control else 1.0
    why = f"{silent} of {asked} devices are silent, {plan.silent_share_max:.0%} may be"
    evidence = {
        "silent": silent,
        "asked": asked,
        "control_silent": progress.control_silent,
        "control_units": progress.control_units,
    }
    if silent >= SILENT_UNITS_MIN and share - control > plan.silent_excess_max:
        why += f", and {control:.0%} of the control group are"
        return start_reverting(rollout, GUARD, why, now_s, **evidence)
    return pause(rollout, GUARD, why, evidence) if rollout.state is State.RUNNING else []


def pause(
    rollout: Rollout, who: str, why: str, evidence: Mapping[str, object] | None = None
) -> Effects:
    """Enter PAUSED and say so."""
    enter(rollout, State.PAUSED, why)
    text = f"{rollout.model} {rollout.version} is paused: {why}"
    severity = "info" if why == AT_SUBSET else "warning"
    return [
        Audit(rollout.rollout_id, who, "rollout.pause", why, evidence or {}),
        Notify(rollout.rollout_id, severity, f"pause {why}", text),
    ]


def is_check_due(rollout: Rollout, now_s: float) -> bool:
    """At every interval, and once more when a stage is ready to be left."""
    progress = rollout.progress
    if progress.stage_opened_s is None:
        return False
    if now_s >= progress.next_check_s:
        return True
    ready_s = ready_at_s(rollout)
    was_before = progress.checked_s is None or ready_s is None or progress.checked_s < ready_s
    return ready_s is not None and now_s >= ready_s and was_before


def ready_at_s(rollout: Rollout) -> float | None:
    """When the open stage has soaked and the next one may open; None while it has not settled."""
    progress, stages = rollout.progress, rollout.plan.stages
    if progress.settled_s is None:
        return None
    ready_s = progress.settled_s + stages[progress.stage_index].soak_s
    is_whole = progress.opened_bp >= progress.subset_bp
    if not is_whole and progress.started_s is not None:
        after = stages[min(progress.stage_index + 1, len(stages) - 1)]
        ready_s = max(ready_s, progress.started_s + after.not_before_s)
    return ready_s


def run_checks(rollout: Rollout, now_s: float) -> Effects:
    """Evaluate the gate now, keep the result, and act on a breach."""
    progress = rollout.progress
    progress.checked_s = now_s
    progress.next_check_s = now_s + rollout.plan.gate.interval_s
    since = bucket_of(rollout, progress.stage_opened_s or 0.0)
    classes = {name: rollout.terms[name].energy_uj for name in sorted(+rollout.swapped)}
    rollout.checks = evaluate(
        rollout.pools, rollout.plan.gate, classes, memory_shares(rollout, classes), since
    )
    broken = breaches(rollout.checks, Consequence.REVERT)
    if broken:
        why = "; ".join(check.text for check in broken)
        rows = [check_row(check) for check in rollout.checks]
        return start_reverting(rollout, GUARD, why, now_s, checks=rows)
    return _tell(rollout)


def memory_shares(rollout: Rollout, classes: Iterable[str]) -> dict[str, list[float | None]]:
    """class -> memory shares of its members on the new version; O(opened), once per interval."""
    shares: dict[str, list[float | None]] = {name: [] for name in classes}
    for unit in rollout.order[: rollout.progress.offer_index]:
        member = rollout.members[unit]
        if member.phase is MemberPhase.CONFIRMED and member.hardware_class in shares:
            shares[member.hardware_class].append(member.memory_share)
    return shares


def _tell(rollout: Rollout) -> Effects:
    """Notify each failed check that does not revert, once until it has passed again."""
    loud = [
        check
        for consequence in (Consequence.ALERT, Consequence.HOLD)
        for check in breaches(rollout.checks, consequence)
    ]
    keys = {_key(check): check for check in loud}
    new = [check for key, check in keys.items() if key not in rollout.told]
    rollout.told = set(keys)
    return [
        Notify(rollout.rollout_id, "warning", _key(check), f"{check.name}: {check.text}")
        for check in new
    ]


def _key(check: Check) -> str:
    return f"{check.name} {check.hardware_class}".strip()


def go_on(rollout: Rollout, now_s: float) -> Effects:
    """Open the stage that is due, offer, settle, and leave it when it is done (rule 4)."""
    effects: Effects = []
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
    stage = rollout.plan.stages[progress.stage_index]
    if progress.stage_opened_s is not None or progress.started_s is None:
        return []
    if now_s < progress.started_s + stage.not_before_s:
        return []
    progress.opened_bp = min(stage.share_bp, progress.subset_bp)
    progress.opened_count = count_of(progress.opened_bp, len(rollout.order))
    progress.stage_opened_s = now_s
    progress.next_check_s = now_s + rollout.plan.gate.interval_s
    progress.checked_s = None
    rollout.checks = ()
    why = f"{progress.opened_bp / 100:g} % of {len(rollout.order)}: {progress.opened_count} units"
    evidence = {"stage": progress.stage_index + 1, "units": progress.opened_count}
    return [Audit(rollout.rollout_id, GUARD, "rollout.stage", why, evidence)]


def offer(rollout: Rollout, now_s: float) -> Effects:
    """Assignments for the opened members, as many as may be under way (rule 5)."""
    progress, plan = rollout.progress, rollout.plan
    effects: Effects = []
    room = plan.parallel_max - rollout.in_flight if plan.parallel_max else len(rollout.order)
    while progress.offer_index < progress.opened_count and room > 0:
        member = rollout.members[rollout.order[progress.offer_index]]
        progress.offer_index += 1
        if signal_member(rollout, member, Signal.OFFER):
            effects.append(_assign(rollout, member, now_s))
            room -= 1
    return effects


def _assign(rollout: Rollout, member: Member, now_s: float) -> Assign:
    member.deadline_s = rollout.link.read(now_s) + rollout.plan.silent_after_s
    heapq.heappush(rollout.deadlines, (member.deadline_s, member.index))
    return Assign(
        rollout.rollout_id,
        member.unit,
        rollout.model,
        rollout.digest,
        Mode.ACTIVE,
        rollout.terms[member.hardware_class].trial,
        rollout.plan.attempt,
        rollout.plan.inference_deadline_us,
    )


def is_settled(rollout: Rollout) -> bool:
    """Have the opened members ended? The last share wants all; before it, the share of the
    online ones that the plan says, and few offline."""
    progress, plan = rollout.progress, rollout.plan
    if progress.stage_opened_s is None or progress.offer_index < progress.opened_count:
        return False
    under_way = rollout.in_flight
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
    if not plan.stages[progress.stage_index].is_gated or not rollout.touched:
        return True
    is_fresh = progress.checked_s is not None and progress.checked_s >= ready_s
    return is_fresh and is_passed(rollout.checks, plan.gate.require)


def leave_stage(rollout: Rollout, who: str, why: str) -> Effects:
    """On to the next share; at the subset's end pause, at the fleet's end succeed."""
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
    if progress.opened_bp < progress.subset_bp:
        reopen(rollout)
        return effects
    if not rollout.counts[MemberPhase.CONFIRMED] and not _is_all_there(rollout):
        return effects + pause(rollout, GUARD, "no device has confirmed")
    if progress.subset_bp < WHOLE_BP:
        return effects + pause(rollout, GUARD, AT_SUBSET)
    return effects + _succeed(rollout)


def _is_all_there(rollout: Rollout) -> bool:
    """Did every opened unit run the bundle before the rollout began?"""
    opened = rollout.order[: rollout.progress.opened_count]
    return all(rollout.members[unit].reason == ALREADY_RUNNING for unit in opened)


def reopen(rollout: Rollout) -> None:
    """Make the next share due: the same stage if the subset had cut it, else the next."""
    progress = rollout.progress
    if progress.opened_bp >= rollout.plan.stages[progress.stage_index].share_bp:
        progress.stage_index += 1
    progress.stage_opened_s = None
    progress.settled_s = None


def _succeed(rollout: Rollout) -> Effects:
    confirmed = rollout.counts[MemberPhase.CONFIRMED]
    why = f"{confirmed} of {len(rollout.order)} devices confirmed"
    enter(rollout, State.SUCCEEDED, why)
    text = f"{rollout.model} {rollout.version}: {why}"
    return [
        Audit(rollout.rollout_id, GUARD, "rollout.succeed", why, report(rollout)),
        Notify(rollout.rollout_id, "info", "succeeded", text),
        Finished(rollout.rollout_id, rollout.state.value, report(rollout)),
    ]


def _watch_deadline(rollout: Rollout, now_s: float) -> Effects:
    opened_s = rollout.progress.stage_opened_s
    watched_s = max(opened_s or 0.0, rollout.progress.resumed_s)
    if opened_s is None or now_s - watched_s < rollout.plan.stage_after_s_max:
        return []
    waits = "; ".join(waiting_for(rollout, now_s))
    why = f"stage {rollout.progress.stage_index + 1} is open for too long, waiting for: {waits}"
    return pause(rollout, GUARD, why)
