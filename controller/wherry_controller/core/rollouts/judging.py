"""What speaks against a rollout: failures, silence, and the gate's checks.

Rules, in order:
1. Devices whose deadline passed are silent (before an event is looked at).
2. Too many failures revert, by number or by proof, after every result. Too much silence pauses;
   silence beyond the control group's reverts.
3. A breached gate reverts, in RUNNING and in PAUSED alike.
4. A check that only alerts or holds is told once, until it has passed again.
"""

import heapq
from collections.abc import Iterable, Mapping
from typing import Final

from wherry_controller.core.gates.checks import (
    Check,
    Consequence,
    Verdict,
    blocking,
    breaches,
)
from wherry_controller.core.gates.custom import Series, check_custom
from wherry_controller.core.gates.error_checks import Updates, check_updates
from wherry_controller.core.gates.evaluating import evaluate
from wherry_controller.core.gates.pools import Arm
from wherry_controller.core.gates.shadowing import check_shadow
from wherry_controller.core.plans.plan import Plan
from wherry_controller.core.plans.stages import Action
from wherry_controller.core.rollouts.effects import Audit, Effects, Notify
from wherry_controller.core.rollouts.members import IN_FLIGHT, MemberPhase, Signal
from wherry_controller.core.rollouts.observing import bucket_of
from wherry_controller.core.rollouts.readiness import ready_at_s, undecided_until_s
from wherry_controller.core.rollouts.report import check_row, report
from wherry_controller.core.rollouts.returning import start_reverting
from wherry_controller.core.rollouts.state import (
    ACTIVE,
    Rollout,
    State,
    enter,
    signal_member,
    stage_of,
)
from wherry_controller.core.subset import WHOLE_BP

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
        if member.deadline_s is not None and member.deadline_s > clock_s:
            continue  # it was ready, and was offered something again
        reason = f"not done within {rollout.plan.silent_after_s:g} s"
        signal_member(rollout, member, Signal.DEADLINE, reason)


def may_be_silent(rollout: Rollout, now_s: float, within_s: float) -> bool:
    """Whether silence may speak against the rollout before that time has passed."""
    if rollout.counts[MemberPhase.SILENT] > rollout.progress.silent_accepted:
        return True
    deadlines = rollout.deadlines
    while deadlines and rollout.members[rollout.order[deadlines[0][1]]].phase not in IN_FLIGHT:
        heapq.heappop(deadlines)  # it has ended, and nothing that has ended begins again
    return bool(deadlines) and deadlines[0][0] <= rollout.link.read(now_s) + within_s


def guard(rollout: Rollout, now_s: float) -> Effects:
    """Failures, silence and the gate's checks (rules 2 and 3)."""
    effects = _guard_failures(rollout, now_s) if rollout.failed else []
    if rollout.state not in ACTIVE:
        return effects
    effects += _guard_silence(rollout, now_s)
    if rollout.state in ACTIVE and is_check_due(rollout, now_s):
        effects += run_checks(rollout, now_s)
    return effects


def _guard_failures(rollout: Rollout, now_s: float) -> Effects:
    allowed = failures_allowed(rollout.plan, rollout.progress.opened_count)
    if rollout.failed > allowed:
        why = f"{rollout.failed} devices failed, {allowed} may"
        return start_reverting(rollout, GUARD, why, now_s, **_named_failures(rollout))
    if is_failing(rollout):
        check = check_updates(rollout.plan.gate, updates(rollout))
        if check.verdict is Verdict.FAIL:
            evidence = _named_failures(rollout) | {"checks": [check_row(check)]}
            return start_reverting(rollout, GUARD, check.text, now_s, **evidence)
    return []


def is_failing(rollout: Rollout) -> bool:
    """Do more updates fail than are tolerated? Most often they don't, and no test is needed."""
    return rollout.failed > rollout.plan.gate.update_failure_max * rollout.touched


def updates(rollout: Rollout) -> Updates:
    """How the updates have ended so far."""
    progress = rollout.progress
    return Updates(
        rollout.touched,
        rollout.failed,
        rollout.counts[MemberPhase.CONFIRMED] + rollout.counts[MemberPhase.READY],
        rollout.counts[MemberPhase.SILENT],
        progress.control_silent,
        progress.control_units,
    )


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
    if silent <= progress.silent_accepted:
        return []
    asked = rollout.touched
    if silent <= plan.silent_share_max * asked:
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
    rollout.progress.paused_by = who
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
    if ready_s is None or now_s < ready_s:
        return False
    return progress.checked_s is None or progress.checked_s < ready_s


def run_checks(rollout: Rollout, now_s: float) -> Effects:
    """Evaluate the gate now, keep the result, and act on a breach."""
    progress = rollout.progress
    progress.checked_s = now_s
    progress.next_check_s = now_s + rollout.plan.gate.interval_s
    rollout.checks = checks_of(rollout) + customs(rollout, now_s)
    broken = breaches(rollout.checks, Consequence.REVERT)
    if broken:
        why = "; ".join(check.text for check in broken)
        rows = [check_row(check) for check in rollout.checks]
        return start_reverting(rollout, GUARD, why, now_s, checks=rows)
    return _tell(rollout) + _pause_undecided(rollout, now_s)


def checks_of(rollout: Rollout) -> tuple[Check, ...]:
    """The gate of the open stage: a shadow is compared, everything else serves and is judged."""
    gate = rollout.plan.gate
    if stage_of(rollout).action is Action.SHADOW:
        shown = check_shadow(gate, rollout.panel.shadow)
        return (shown, check_updates(gate, updates(rollout)))
    since = bucket_of(rollout, rollout.progress.stage_opened_s or 0.0)
    classes = {name: rollout.terms[name].energy_uj for name in sorted(+rollout.swapped)}
    return evaluate(
        rollout.pools,
        rollout.panel,
        gate,
        classes,
        memory_shares(rollout, classes),
        updates(rollout),
        since,
    )


def customs(rollout: Rollout, now_s: float) -> tuple[Check, ...]:
    """The rules of the rollout file, on what others pushed."""
    rules, series = rollout.plan.gate.custom, rollout.panel.series
    requests = rollout.pools.total(Arm.NEW)[0] if rules else 0
    return tuple(
        check_custom(rule, series.get(rule.name, Series()), requests, now_s) for rule in rules
    )


def _pause_undecided(rollout: Rollout, now_s: float) -> Effects:
    """Where the policy says so: pause a stage that only lacks figures, after its deadline."""
    until_s = undecided_until_s(rollout)
    if until_s is None or now_s < until_s or rollout.state is not State.RUNNING:
        return []
    waiting = blocking(rollout.checks, rollout.plan.gate.require)
    texts = "; ".join(f"{check.name}: {check.text}" for check in waiting)
    why = f"inconclusive {rollout.plan.gate.inconclusive_after_s:g} s after its soak: {texts}"
    return pause(rollout, GUARD, why, {"checks": [check_row(check) for check in waiting]})


def memory_shares(rollout: Rollout, classes: Iterable[str]) -> dict[str, list[float | None]]:
    """class -> memory shares of its members on the new version; O(opened), once per interval."""
    shares: dict[str, list[float | None]] = {name: [] for name in classes}
    for unit in rollout.order[: rollout.progress.touched_index]:
        member = rollout.members[unit]
        if member.phase is MemberPhase.CONFIRMED and member.hardware_class in shares:
            shares[member.hardware_class].append(member.memory_share)
    return shares


def _tell(rollout: Rollout) -> Effects:
    """Notify each failed check that does not revert, once until it has passed again."""
    loud = [
        check
        for consequence in (Consequence.ALERT, Consequence.HOLD, Consequence.PAUSE)
        for check in breaches(rollout.checks, consequence)
    ]
    keys = {_key(check): check for check in loud}
    new = [check for key, check in keys.items() if key not in rollout.told]
    rollout.told = set(keys)
    effects: Effects = [
        Notify(rollout.rollout_id, "warning", _key(check), f"{check.name}: {check.text}")
        for check in new
    ]
    pausing = [check for check in new if check.consequence is Consequence.PAUSE]
    if pausing and rollout.state is State.RUNNING:
        why = "; ".join(f"{check.name}: {check.text}" for check in pausing)
        effects += pause(rollout, GUARD, why, {"checks": [check_row(check) for check in pausing]})
    return effects


def _key(check: Check) -> str:
    return f"{check.name} {check.hardware_class}".strip()
