"""What a unit must have run before a version: known from its slots and its figures that are kept.

Rules:
1. Who has not run it is passed over by name, or, where the plan says so, brought it first: by the
   same rollout, one version after the other in the plan's order, each confirmed before the next.
2. Only what is in the registry and may be deployed can be brought; else the unit is passed over.
   What an environment demands of a version it demands of what is brought first, too.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from sqlite_utils import Database
from wherry_protocol.errors import WherryError

from wherry_controller.core.plans.plan import BRING
from wherry_controller.core.rollouts import Rollout, decide
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.core.rollouts.report import NAMES_MAX
from wherry_controller.fleet import promoting, rollouts
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import performance, registry
from wherry_controller.store.registry import BundleRow

Way = tuple[dict[str, bytes], str]  # version -> digest of what comes first; why it is passed over


def prepare(org: Organization, rollout: Rollout, now_s: float) -> None:
    """Tell the rollout who is passed over, and who is brought what first."""
    for unit, way in list(_ways(org.db, rollout)):
        event = _event_of(unit, way)
        if event is not None:
            rollouts.tell(org, rollout.rollout_id, event, now_s)


def foreseen(db: Database, draft: Rollout, now_s: float) -> tuple[Rollout, dict[str, Any]]:
    """A draft as `prepare` would leave it, and who is brought what first and who is passed over,
    among the first NAMES_MAX units in its order. Nothing is kept."""
    named = set(draft.order[:NAMES_MAX]) if draft.plan.must_pass else set()
    brings: dict[str, list[str]] = {}
    skips: dict[str, str] = {}
    for unit, way in list(_ways(db, draft)):
        event = _event_of(unit, way)
        if event is not None:
            draft, _ = decide(draft, event, now_s)
        first, reason = way
        if reason and unit in named:
            skips[unit] = reason
        elif first and unit in named:
            brings[unit] = list(first)
    return draft, {"looked_at": len(named), "brings": brings, "skips": skips}


def way_of(db: Database, rollout: Rollout, unit: str) -> Way:
    """What the unit is brought first, or why it is passed over."""
    return _way_past(db, rollout, _missed(db, rollout, [unit])[unit])


def _ways(db: Database, rollout: Rollout) -> Iterator[tuple[str, Way]]:
    """Of each unit that is to be offered the rollout's version."""
    known: dict[tuple[str, ...], Way] = {}
    pending = [u for u in rollout.order if rollout.members[u].phase is MemberPhase.PENDING]
    for unit, missed in _missed(db, rollout, pending).items():
        if missed not in known:
            known[missed] = _way_past(db, rollout, missed)
        yield unit, known[missed]


def _event_of(unit: str, way: Way) -> told.PassedOver | told.Prepared | None:
    first, reason = way
    if reason:
        return told.PassedOver(unit, reason)
    return told.Prepared(unit, tuple(first.values())) if first else None


def _missed(db: Database, rollout: Rollout, units: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What each of these units must have run and is not known to have; in their order."""
    wanted = rollout.plan.must_pass
    if not wanted:
        return dict.fromkeys(units, ())
    known = performance.known_to_have_run(db, units, rollout.model, wanted)
    return {
        unit: tuple(version for version in wanted if (unit, version) not in known) for unit in units
    }


def _way_past(db: Database, rollout: Rollout, missed: tuple[str, ...]) -> Way:
    if not missed:
        return {}, ""
    reason = f"it must have run {', '.join(missed)} before"
    if rollout.plan.must_pass_missing != BRING:
        return {}, f"{reason}; bring it that first"
    try:
        rows = {version: registry.version(db, rollout.model, version) for version in missed}
        for row in rows.values():
            promoting.check_deployable(row)
    except WherryError as error:
        return {}, f"{reason}, which cannot be brought: {error}"
    return {version: row.digest for version, row in rows.items()}, ""


def brought(db: Database, rollout: Rollout) -> list[BundleRow]:
    """What the rollout may bring first (rule 2), whoever lacks it."""
    found = []
    for version in rollout.plan.must_pass if rollout.plan.must_pass_missing == BRING else ():
        with suppress(WherryError):
            row = registry.version(db, rollout.model, version)
            promoting.check_deployable(row)
            found.append(row)
    return found
