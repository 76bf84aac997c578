"""The controller's wall clock was set: what a rollout waits for moves with it.

Every moment that a rollout keeps is compared with `now_s`. A clock that is set ahead must neither
make devices silent nor end a soak, and one that is set back must not make everybody wait.
"""

from dataclasses import fields

from wherry_controller.core.rollouts.state import Progress, Rollout

# Whatever ends in `_s` there is a moment; 0.0 and None say that there is none yet.
MOMENTS = tuple(field.name for field in fields(Progress) if field.name.endswith("_s"))


def clock_was_set(rollout: Rollout, by_s: float) -> None:
    """Move the rollout's moments by as much as the clock."""
    for name in MOMENTS:
        moment_s = getattr(rollout.progress, name)
        if moment_s:
            setattr(rollout.progress, name, moment_s + by_s)
    if rollout.link.up_since_s is not None:
        rollout.link.up_since_s += by_s
