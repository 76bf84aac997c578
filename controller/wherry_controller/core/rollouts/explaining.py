"""Why a rollout stands where it stands: each rule with its numbers, and where they come from."""

from typing import Any

from wherry_controller.core.gates.checks import Verdict, blocking
from wherry_controller.core.rollouts.report import check_row, waiting_for
from wherry_controller.core.rollouts.state import Rollout


def explain(rollout: Rollout, now_s: float) -> dict[str, Any]:
    """The rules that fired and those that block, what each compared with, and the numbers that
    differ from the preset."""
    fired = [check for check in rollout.checks if check.verdict is Verdict.FAIL]
    blocked = blocking(rollout.checks, rollout.plan.gate.require)
    return {
        "id": rollout.rollout_id,
        "state": rollout.state.value,
        "reason": rollout.state_reason,
        "fired": [check_row(check) for check in fired],
        "blocking": [check_row(check) for check in blocked if check not in fired],
        "baselines": {
            f"{check.name} {check.hardware_class}".strip(): check.figures["basis"]
            for check in rollout.checks
            if "basis" in check.figures
        },
        "checked_s": rollout.progress.checked_s,
        "preset": rollout.plan.preset,
        "overrides": list(rollout.plan.overrides),
        "waiting_for": waiting_for(rollout, now_s),
    }
