"""What a rollout would be, before anybody is touched: its steps, its time, its exposure.

Rules:
1. Times are the earliest possible: every device is done as soon as its trial may end, and gates
   pass. What the plan itself says of pace is counted: batches, the ramp, offers a second, soaks,
   and when devices may begin to serve. Whoever is brought something first has one trial more for
   each of these, and is offered again in between; whoever is passed over takes no time.
2. A stage that the subset cuts is the last one; what comes after it is not shown.
"""

import heapq
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from wherry_controller.core.plans.pace import OFFERS_MAX_PER_S, offered_after_s
from wherry_controller.core.plans.plan import Plan
from wherry_controller.core.plans.schedule import opens_in_s
from wherry_controller.core.plans.stages import SERVING
from wherry_controller.core.rollouts.exposure import exposures
from wherry_controller.core.rollouts.forecast import preview, stages_until
from wherry_controller.core.rollouts.members import Member, MemberPhase
from wherry_controller.core.rollouts.state import Rollout
from wherry_controller.core.subset import WHOLE_BP, count_of

SEED = 20


def outlook(rollout: Rollout, now_s: float) -> dict[str, Any]:
    """Steps with counts and earliest times, and the whole time, if it started now. `first`: the
    units that are brought something before the rollout's own version, and what that adds."""
    turns = [_turns(rollout.members[unit]) for unit in rollout.order]
    steps, expected_s = _steps(rollout, now_s, turns)
    _, without_s = _steps(rollout, now_s, [min(count, 1) for count in turns])
    first = {"units": sum(count > 1 for count in turns), "expected_s": expected_s - without_s}
    return {"units": len(turns), "steps": steps, "expected_s": expected_s, "first": first}


def _turns(member: Member) -> int:
    """How many versions it is brought, one after the other."""
    return 0 if member.phase is MemberPhase.SKIPPED else 1 + len(member.first)


def _steps(
    rollout: Rollout, now_s: float, turns: Sequence[int]
) -> tuple[list[dict[str, Any]], float]:
    plan, size = rollout.plan, len(rollout.order)
    steps: list[dict[str, Any]] = []
    at_s, opened, action = 0.0, 0, None
    stages = stages_until(plan.stages, plan.subset_bp)
    for stage, added in zip(stages, preview(rollout), strict=True):
        before = opened if stage.action is action else 0
        opened, action = count_of(stage.share_bp, size), stage.action
        at_s = max(at_s, stage.not_before_s)
        if action in SERVING:
            at_s += opens_in_s(plan.schedule, now_s + at_s)
        steps.append(
            {
                "action": action.value,
                "share": stage.share_bp / WHOLE_BP,
                "added": len(added),
                "opened": opened,
                "opens_after_s": at_s,
                "is_manual": stage.is_manual,
                "is_gated": stage.is_gated,
            }
        )
        trial_s = plan.trial.trial_s_min if action in SERVING else 0.0
        at_s += _settles_in_s(plan, turns[before:opened], trial_s) + stage.soak_s
    return steps, at_s


def _settles_in_s(plan: Plan, turns: Sequence[int], trial_s: float) -> float:
    """Until units with so many turns each are offered and have ended."""
    asked = [count for count in turns if count]
    if not asked:
        return 0.0
    last = {count: index for index, count in enumerate(asked)}  # of each count, the last in order
    ends_s = [
        max(offered_after_s(plan.ramp, index + 1), float(index // OFFERS_MAX_PER_S))
        + count * trial_s
        for count, index in last.items()
    ]
    again_s = (sum(asked) - 1) // OFFERS_MAX_PER_S + trial_s
    return max(*ends_s, again_s, _rounds(asked, plan.parallel_max) * trial_s)


def _rounds(turns: Sequence[int], parallel_max: int) -> int:
    """How many trials follow each other where so many at a time are under way: whoever is offered
    again comes before whoever has not been offered yet."""
    if not parallel_max:
        return max(turns)
    busy_until = [0] * min(parallel_max, len(turns))
    for count in turns:
        heapq.heapreplace(busy_until, busy_until[0] + count)
    return max(busy_until)


def risk(plan: Plan, size: int) -> dict[str, Any]:
    """What a harm would cost: 400 trials of each, which takes a while for a large fleet."""
    return {
        "false_abort": plan.gate.false_abort,
        "tolerated": plan.gate.update_failure_max,
        "exposure": [asdict(one) for one in exposures(plan, size, SEED)],
    }
