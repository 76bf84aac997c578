"""What a rollout would be, before anybody is touched: its steps, its time, its exposure."""

from dataclasses import asdict
from typing import Any

from wherry_controller.core.rollouts.exposure import exposures
from wherry_controller.core.rollouts.report import preview
from wherry_controller.core.rollouts.state import Rollout

SEED = 20


def outlook(rollout: Rollout) -> dict[str, Any]:
    """Steps with counts and earliest times, the whole time, and what a harm would cost."""
    plan = rollout.plan
    steps, at_s = [], 0.0
    opened = 0
    for stage, added in zip(plan.stages, preview(rollout), strict=True):
        opened = max(opened, min(len(rollout.order), opened + len(added)))
        at_s = max(at_s, stage.not_before_s)
        steps.append(
            {
                "action": stage.action.value,
                "share": min(stage.share_bp, plan.subset_bp) / 10_000,
                "added": len(added),
                "opened": opened,
                "opens_after_s": at_s,
                "is_manual": stage.is_manual,
                "is_gated": stage.is_gated,
            }
        )
        at_s += plan.trial.trial_s_min + stage.soak_s
    return {
        "units": len(rollout.order),
        "steps": steps,
        "expected_s": at_s,
        "false_abort": plan.gate.false_abort,
        "tolerated": plan.gate.update_failure_max,
        "exposure": [asdict(one) for one in exposures(plan, len(rollout.order), SEED)],
    }
