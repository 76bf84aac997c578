"""When a stage may be left, and when one that only lacks figures is paused."""

from wherry_controller.core.gates.checks import Verdict, blocking
from wherry_controller.core.gates.limits import WAIT
from wherry_controller.core.rollouts.state import Rollout


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


def undecided_until_s(rollout: Rollout) -> float | None:
    """When a stage that only lacks figures is paused; None where it is not in that case."""
    gate, ready_s = rollout.plan.gate, ready_at_s(rollout)
    waiting = blocking(rollout.checks, gate.require)
    is_undecided = any(check.verdict is Verdict.INCONCLUSIVE for check in waiting)
    is_gated = rollout.plan.stages[rollout.progress.stage_index].is_gated
    if gate.inconclusive == WAIT or ready_s is None or not is_undecided or not is_gated:
        return None
    return max(ready_s, rollout.progress.resumed_s) + gate.inconclusive_after_s
