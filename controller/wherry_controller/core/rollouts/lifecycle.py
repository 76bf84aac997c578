"""The ten states in which pipelines know a version, from the states of its rollout.

Rules, in order:
1. A version without a rollout is TRAINED; one whose rollout touches nobody, or only makes
   candidates, is VALIDATING.
2. While devices are given it, it is DEPLOYING; when the last share has settled it is DEPLOYED,
   and from the first look at it MONITORING.
3. DEGRADED is a check that fails without reverting, or a pause that nobody but the guard asked
   for; it recovers when the checks pass.
4. On its way back it is in ROLLBACK. Where it had been deployed, the former version is DEPLOYED
   again after that; where it had not, it has FAILED.
5. STABLE is the soak passed with its gate; it stays so at the END.
"""

from enum import Enum
from typing import Final

from wherry_controller.core.gates.checks import Verdict
from wherry_controller.core.plans.stages import CANDIDATE, Action
from wherry_controller.core.rollouts.state import Rollout, State, is_deployed, stage_of

BEFORE_IT: Final = frozenset({State.DRAFT, State.APPROVED})
GUARDS: Final = ("rollout guard", "guard")
AT_SUBSET: Final = "at its subset"


class Lifecycle(Enum):
    """A version's state, as pipelines name it."""

    TRAINED = "trained"
    VALIDATING = "validating"
    DEPLOYING = "deploying"
    DEPLOYED = "deployed"
    FAILED = "failed"
    MONITORING = "monitoring"
    DEGRADED = "degraded"
    ROLLBACK = "rollback"
    STABLE = "stable"
    END = "end"


# What may follow what, for tests and documents; a new rollout of the version begins again.
FOLLOWS: Final[dict[Lifecycle, frozenset[Lifecycle]]] = {
    one: frozenset(map(Lifecycle, after.split()))
    for one, after in {
        Lifecycle.TRAINED: "validating",
        Lifecycle.VALIDATING: "deploying degraded rollback failed stable",
        Lifecycle.DEPLOYING: "deployed degraded rollback failed stable",
        # a subset that is widened is deployed to more
        Lifecycle.DEPLOYED: "monitoring deploying degraded rollback failed stable",
        Lifecycle.MONITORING: "deploying degraded rollback failed stable",
        # recovered: back to where it was
        Lifecycle.DEGRADED: "validating deploying deployed monitoring rollback failed stable",
        Lifecycle.ROLLBACK: "deployed failed",
        Lifecycle.STABLE: "end rollback degraded failed",
        Lifecycle.FAILED: "end rollback",
        Lifecycle.END: "",
    }.items()
}


def lifecycle(rollout: Rollout) -> Lifecycle:
    """The version's state, as this rollout leaves it."""
    state = rollout.state
    if state in BEFORE_IT:
        return Lifecycle.VALIDATING
    if state is State.SUCCEEDED:
        return Lifecycle.STABLE
    if state is State.REVERTING:
        return Lifecycle.ROLLBACK
    if state is State.REVERTED:
        return Lifecycle.DEPLOYED if rollout.progress.was_deployed else Lifecycle.FAILED
    if state is State.ABORTED:
        return Lifecycle.FAILED
    if is_degraded(rollout):
        return Lifecycle.DEGRADED
    if stage_of(rollout).action in CANDIDATE:
        return Lifecycle.VALIDATING
    return _under_way(rollout)


def _under_way(rollout: Rollout) -> Lifecycle:
    progress = rollout.progress
    if stage_of(rollout).action is Action.DECOMMISSION:
        return Lifecycle.STABLE
    if not is_deployed(rollout) or progress.settled_s is None:
        return Lifecycle.DEPLOYING
    is_looked_at = progress.checked_s is not None and progress.checked_s > progress.settled_s
    return Lifecycle.MONITORING if is_looked_at else Lifecycle.DEPLOYED


def is_degraded(rollout: Rollout) -> bool:
    """Does something speak against it that does not send it back (rule 3)?"""
    if any(check.verdict is Verdict.FAIL for check in rollout.checks):
        return True
    is_held = rollout.progress.paused_by in GUARDS and rollout.state_reason != AT_SUBSET
    return rollout.state is State.PAUSED and is_held
