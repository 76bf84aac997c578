"""Who is compared with whom: the arms of an experiment, and the control group of a gate."""

from typing import TYPE_CHECKING

from wherry_controller.core.gates.experiment import Variant
from wherry_controller.core.gates.pools import BUCKETS_MAX, Arm
from wherry_controller.core.rollouts import Rollout
from wherry_controller.core.rollouts.members import MemberPhase, Return
from wherry_controller.core.rollouts.state import ACTIVE

from tests.simulation.invariants.broken import broken

if TYPE_CHECKING:
    from tests.simulation.world import World

LATE_BUCKETS = 2  # so much later a report of before may lie


def nobody_changes_arms(world: "World", rollout: Rollout) -> None:
    """Widening takes devices into the treatment, and nothing takes one out of it."""
    opened = set(rollout.order[: rollout.progress.opened_count])
    watched = rollout.panel.experiment.watched
    treated = {unit for variant, unit in watched if variant is Variant.TREATMENT}
    control = {unit for variant, unit in watched if variant is Variant.CONTROL}
    opened_before, control_before = world.truth.arms.get(rollout.rollout_id, (set(), control))
    world.truth.arms[rollout.rollout_id] = opened, control
    if treated - opened:
        names = ", ".join(sorted(treated - opened))
        broken(f"{rollout.rollout_id} counts {names} as treated, which no stage has opened")
    moved = sorted((control - control_before) & opened_before)
    if moved:
        broken(f"{rollout.rollout_id} counts {', '.join(moved)} as control, in the treatment")


def the_control_group_is_not_on_the_new_version(world: "World", rollout: Rollout) -> None:
    """Whoever has confirmed the new version and keeps it is no figure to compare it with."""
    if rollout.state not in ACTIVE or world.truth.is_clock_wrong:
        return
    sql = "SELECT connection || '/' || unit FROM assignments WHERE rollout = ?"
    rows = world.controller.db.execute(sql, (rollout.rollout_id,)).fetchall()
    for (unit,) in rows:
        member = rollout.members[unit]
        is_there = member.phase is MemberPhase.CONFIRMED and not member.has_relapsed
        if not is_there or member.way_back is not Return.NONE:
            continue
        key = (rollout.rollout_id, unit)
        since_s = world.truth.confirmed_s.setdefault(key, world.wall_s)
        if _is_in_control(rollout, unit, member.hardware_class, since_s):
            broken(f"{rollout.rollout_id} compares with {unit}, which is on the new version")


def _is_in_control(rollout: Rollout, unit: str, hardware_class: str, since_s: float) -> bool:
    pools, arm = rollout.pools, Arm.CONTROL.value
    indexes = pools.indexes.get((arm, hardware_class), [])
    is_merged = len(indexes) >= BUCKETS_MAX  # then the oldest one holds what was long before
    first = int(since_s // rollout.plan.gate.interval_s) + LATE_BUCKETS
    later = [index for index in indexes[is_merged:] if index > first]
    return any(unit in pools.pools[arm, hardware_class, index].units for index in later)
