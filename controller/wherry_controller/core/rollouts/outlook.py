"""What a rollout would be, before anybody is touched: its steps, its time, its exposure.

Rules:
1. Times are the earliest possible: every device is done as soon as its trial may end, and gates
   pass. What the plan itself says of pace is counted: batches, the ramp, offers a second, soaks,
   and when devices may begin to serve.
2. A stage that the subset cuts is the last one; what comes after it is not shown.
"""

import math
from dataclasses import asdict
from typing import Any

from wherry_controller.core.plans.pace import OFFERS_MAX_PER_S, offered_after_s
from wherry_controller.core.plans.plan import Plan
from wherry_controller.core.plans.schedule import opens_in_s
from wherry_controller.core.plans.stages import SERVING
from wherry_controller.core.rollouts.exposure import exposures
from wherry_controller.core.rollouts.forecast import preview, stages_until
from wherry_controller.core.rollouts.state import Rollout
from wherry_controller.core.subset import WHOLE_BP, count_of

SEED = 20


def outlook(rollout: Rollout, now_s: float) -> dict[str, Any]:
    """Steps with counts and earliest times, and the whole time, if it started now."""
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
        at_s += _settles_in_s(plan, opened - before, trial_s) + stage.soak_s
    return {"units": size, "steps": steps, "expected_s": at_s}


def _settles_in_s(plan: Plan, count: int, trial_s: float) -> float:
    """Until so many are offered and have ended, one batch after the other."""
    seconds = (count - 1) // OFFERS_MAX_PER_S
    offered_s = max(offered_after_s(plan.ramp, count), float(seconds))
    batches = math.ceil(count / plan.parallel_max) if plan.parallel_max else 1
    return max(offered_s + trial_s, batches * trial_s)


def risk(plan: Plan, size: int) -> dict[str, Any]:
    """What a harm would cost: 400 trials of each, which takes a while for a large fleet."""
    return {
        "false_abort": plan.gate.false_abort,
        "tolerated": plan.gate.update_failure_max,
        "exposure": [asdict(one) for one in exposures(plan, size, SEED)],
    }
