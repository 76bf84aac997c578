"""What a rollout's gate knows: why it decided so, its shadow, its experiment."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from wherry_controller.core.gates.experiment import experiment_report
from wherry_controller.core.gates.shadowing import shadow_report
from wherry_controller.core.rollouts import Rollout, restore
from wherry_controller.core.rollouts.explaining import explain
from wherry_controller.core.rollouts.observing import variant_of
from wherry_controller.http.auth import desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.store import rollouts as kept

router = APIRouter(tags=["rollouts"])
At = Annotated[Desk, Depends(desk_of)]


def _rollout(desk: Desk, rollout_id: str) -> Rollout:
    kept.get(desk.reader, rollout_id)
    return restore(kept.parts(desk.reader, rollout_id))


@router.get("/rollouts/{rollout_id}/explain", operation_id="rollouts.explain")
def explained(rollout_id: str, desk: At) -> dict[str, Any]:
    """Which rules fired, with their numbers, what they compared with, and the overrides."""
    return explain(_rollout(desk, rollout_id), desk.clock())


@router.get("/rollouts/{rollout_id}/shadow", operation_id="rollouts.shadow")
def shadow(rollout_id: str, desk: At) -> dict[str, Any]:
    """Agreement with its interval, latencies beside the primary's, skips, disagreements."""
    rollout = _rollout(desk, rollout_id)
    return {"id": rollout_id} | shadow_report(rollout.plan.gate, rollout.panel.shadow)


@router.get("/rollouts/{rollout_id}/experiment", operation_id="rollouts.experiment")
def experiment(rollout_id: str, desk: At) -> dict[str, Any]:
    """Both arms on device means, the lift of each metric with its bounds, and the advice."""
    rollout = _rollout(desk, rollout_id)
    variants = {
        unit: variant.value
        for unit in rollout.order
        if (variant := variant_of(rollout, unit)) is not None
    }
    found = experiment_report(rollout.panel.experiment, rollout.plan.gate)
    return {"id": rollout_id} | found | {"variants": variants}
