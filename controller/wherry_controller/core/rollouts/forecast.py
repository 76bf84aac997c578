"""What a rollout has before it: its ladder of stages, and when it can end at the earliest.

Rules:
1. Nothing is promised: every time here holds only if devices settle at once and gates pass.
2. A stage that the subset cuts is the last one; a rollout that does not run has no end, nor has
   one that waits for somebody to open a stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from wherry_controller.core.plans.stages import Stage
from wherry_controller.core.rollouts.state import Rollout, State
from wherry_controller.core.subset import WHOLE_BP, count_of

DONE: Final = "done"
OPEN: Final = "open"
AHEAD: Final = "ahead"


@dataclass(frozen=True, slots=True)
class Rung:
    """One stage. `units` counts all that are open by then; times are Unix seconds, the earliest
    possible ones while they are ahead."""

    action: str
    share: float
    units: int
    state: str
    opens_s: float | None
    ready_s: float | None


def stages_until(stages: Sequence[Stage], subset_bp: int) -> tuple[Stage, ...]:
    """Those that are gone through, with what the subset leaves of their shares (rule 2)."""
    found = []
    for stage, after in zip(stages, [*stages[1:], None], strict=True):
        share_bp = min(stage.share_bp, subset_bp)
        found.append(replace(stage, share_bp=share_bp))
        if share_bp >= subset_bp and (after is None or after.action is stage.action):
            break
    return tuple(found)


def preview(rollout: Rollout) -> list[list[str]]:
    """Which units each stage would add, in order, up to the subset: what a dry run shows."""
    found, last = [], 0
    for stage in stages_until(rollout.plan.stages, rollout.progress.subset_bp):
        count = max(last, count_of(stage.share_bp, len(rollout.order)))
        found.append(rollout.order[last:count])
        last = count
    return found


def ladder(rollout: Rollout, now_s: float) -> tuple[Rung, ...]:
    """The stages, with what is known of their times."""
    progress = rollout.progress
    is_going = rollout.state in (State.RUNNING, State.PAUSED) and progress.started_s is not None
    started_s = now_s if progress.started_s is None else progress.started_s
    at_s = now_s
    found: list[Rung] = []
    for index, stage in enumerate(stages_until(rollout.plan.stages, progress.subset_bp)):
        units = count_of(stage.share_bp, len(rollout.order))
        here = stage.action.value, stage.share_bp / WHOLE_BP, units
        if rollout.state is State.SUCCEEDED or index < progress.stage_index:
            found.append(Rung(*here, DONE, None, None))
        else:
            is_open = index == progress.stage_index and progress.stage_opened_s is not None
            opened_s = progress.stage_opened_s if is_open else None
            opens_s = max(at_s, started_s + stage.not_before_s) if opened_s is None else opened_s
            settled_s = progress.settled_s if is_open else None
            settles_s = max(at_s, opens_s) if settled_s is None else settled_s
            at_s = max(at_s, settles_s + stage.soak_s)
            times = (opens_s, at_s) if is_going else (opened_s, None)
            found.append(Rung(*here, OPEN if is_open else AHEAD, *times))
    return tuple(found)


def earliest_end_s(rollout: Rollout, now_s: float) -> float | None:
    """When the last stage can be left at the earliest (rule 1); None where that is not in sight."""
    progress, stages = rollout.progress, rollout.plan.stages
    ahead = stages[progress.stage_index + (progress.stage_opened_s is not None) :]
    if rollout.state is not State.RUNNING or any(stage.is_manual for stage in ahead):
        return None
    return ladder(rollout, now_s)[-1].ready_s
