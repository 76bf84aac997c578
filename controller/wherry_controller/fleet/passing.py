"""What a unit must have run before a version: known from its slots and its figures that are kept.

Rules:
1. Who has not run it is passed over by name, or, where the plan says so, brought it first: by the
   same rollout, one version after the other in the plan's order, each confirmed before the next.
2. Only what is in the registry and may be deployed can be brought; else the unit is passed over.
   What an environment demands of a version it demands of what is brought first, too.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from wherry_protocol.errors import WherryError

from wherry_controller.core.plans.plan import BRING
from wherry_controller.core.rollouts import Rollout, decide
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.core.rollouts.report import NAMES_MAX
from wherry_controller.fleet import promoting, rollouts
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import devices, performance, registry
from wherry_controller.store.registry import BundleRow

Way = tuple[dict[str, bytes], str]  # version -> digest of what comes first; why it is passed over


def prepare(org: Organization, rollout: Rollout, now_s: float) -> None:
    """Tell the rollout who is passed over, and who is brought what first."""
    for unit, way in list(_ways(org, rollout)):
        event = _event_of(unit, way)
        if event is not None:
            rollouts.tell(org, rollout.rollout_id, event, now_s)


def foreseen(org: Organization, draft: Rollout, now_s: float) -> tuple[Rollout, dict[str, Any]]:
    """A draft as `prepare` would leave it, and who is brought what first and who is passed over,
    among the first NAMES_MAX units in its order. Nothing is kept."""
    named = set(draft.order[:NAMES_MAX]) if draft.plan.must_pass else set()
    brings: dict[str, list[str]] = {}
    skips: dict[str, str] = {}
    for unit, way in list(_ways(org, draft)):
        event = _event_of(unit, way)
        if event is not None:
            draft, _ = decide(draft, event, now_s)
        first, reason = way
        if reason and unit in named:
            skips[unit] = reason
        elif first and unit in named:
            brings[unit] = list(first)
    return draft, {"looked_at": len(named), "brings": brings, "skips": skips}


def way_of(org: Organization, rollout: Rollout, unit: str) -> Way:
    """What the unit is brought first, or why it is passed over."""
    return _way_past(org, rollout, _missed(org, rollout, unit))


def _ways(org: Organization, rollout: Rollout) -> Iterator[tuple[str, Way]]:
    """Of each unit that is to be offered the rollout's version."""
    known: dict[tuple[str, ...], Way] = {}
    for unit in rollout.order if rollout.plan.must_pass else ():
        if rollout.members[unit].phase is MemberPhase.PENDING:
            missed = _missed(org, rollout, unit)
            if missed not in known:
                known[missed] = _way_past(org, rollout, missed)
            yield unit, known[missed]


def _event_of(unit: str, way: Way) -> told.PassedOver | told.Prepared | None:
    first, reason = way
    if reason:
        return told.PassedOver(unit, reason)
    return told.Prepared(unit, tuple(first.values())) if first else None


def _missed(org: Organization, rollout: Rollout, unit: str) -> tuple[str, ...]:
    wanted = rollout.plan.must_pass
    known = ran(org, unit, rollout.model) if wanted else frozenset()
    return tuple(version for version in wanted if version not in known)


def _way_past(org: Organization, rollout: Rollout, missed: tuple[str, ...]) -> Way:
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


def ran(org: Organization, unit: str, model: str) -> frozenset[str]:
    """The versions that a unit is known to have run: in its slots, or in figures that are kept."""
    row = devices.find_model(org.db, *devices.split_id(unit), model)
    if row is None:
        return frozenset()
    reported = performance.versions_of(org.db, row.connection, row.unit, row.model)
    slots = (row.active_version, row.previous_version)
    return frozenset(reported) | frozenset(version for version in slots if version)
