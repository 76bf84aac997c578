"""What a unit must have run before a version: known from its slots and its figures that are kept.

Rules:
1. Who has not run it is passed over by name, or, where the plan says so, brought it first: by the
   same rollout, one version after the other in the plan's order, each confirmed before the next.
2. Only what is in the registry and may be deployed can be brought; else the unit is passed over.
   What an environment demands of a version it demands of what is brought first, too.
"""

from contextlib import suppress
from typing import Any

from wherry_protocol.errors import WherryError

from wherry_controller.core.plans.plan import BRING
from wherry_controller.core.rollouts import Rollout
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.core.rollouts.report import NAMES_MAX
from wherry_controller.fleet import promoting, rollouts
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import devices, performance, registry
from wherry_controller.store.registry import BundleRow


def prepare(org: Organization, rollout: Rollout, now_s: float) -> None:
    """Tell the rollout who is passed over, and who is brought what first."""
    if not rollout.plan.must_pass:
        return
    for unit in rollout.order:
        if rollout.members[unit].phase is not MemberPhase.PENDING:
            continue
        first, reason = way_of(org, rollout, unit)
        if reason:
            rollouts.tell(org, rollout.rollout_id, told.PassedOver(unit, reason), now_s)
        elif first:
            digests = tuple(first.values())
            rollouts.tell(org, rollout.rollout_id, told.Prepared(unit, digests), now_s)


def way_of(org: Organization, rollout: Rollout, unit: str) -> tuple[dict[str, bytes], str]:
    """version -> digest of what the unit is brought first, or why it is passed over."""
    wanted = rollout.plan.must_pass
    known = ran(org, unit, rollout.model) if wanted else frozenset()
    missed = [version for version in wanted if version not in known]
    if not missed:
        return {}, ""
    reason = f"it must have run {', '.join(missed)} before"
    if rollout.plan.must_pass_missing != BRING:
        return {}, f"{reason}; bring it that first"
    try:
        rows = {version: registry.version(org.db, rollout.model, version) for version in missed}
        for row in rows.values():
            promoting.check_deployable(row)
    except WherryError as error:
        return {}, f"{reason}, which cannot be brought: {error}"
    return {version: row.digest for version, row in rows.items()}, ""


def brought(org: Organization, rollout: Rollout) -> list[BundleRow]:
    """What the rollout may bring first (rule 2), whoever lacks it."""
    found = []
    for version in rollout.plan.must_pass if rollout.plan.must_pass_missing == BRING else ():
        with suppress(WherryError):
            row = registry.version(org.db, rollout.model, version)
            promoting.check_deployable(row)
            found.append(row)
    return found


def shown(org: Organization, rollout: Rollout) -> dict[str, Any]:
    """Before it begins: who would be brought what first, and who would be passed over, among the
    first NAMES_MAX units in the rollout's order."""
    looked_at = rollout.order[:NAMES_MAX] if rollout.plan.must_pass else []
    ways = {unit: way_of(org, rollout, unit) for unit in looked_at}
    return {
        "looked_at": len(looked_at),
        "brings": {unit: list(first) for unit, (first, _) in ways.items() if first},
        "skips": {unit: reason for unit, (_, reason) in ways.items() if reason},
    }


def ran(org: Organization, unit: str, model: str) -> frozenset[str]:
    """The versions that a unit is known to have run: in its slots, or in figures that are kept."""
    row = devices.find_model(org.db, *devices.split_id(unit), model)
    if row is None:
        return frozenset()
    reported = performance.versions_of(org.db, row.connection, row.unit, row.model)
    slots = (row.active_version, row.previous_version)
    return frozenset(reported) | frozenset(version for version in slots if version)
