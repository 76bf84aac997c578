"""Which versions somebody needs: what serves, what it would go back to, what is on its way."""

from collections import defaultdict
from collections.abc import Collection
from typing import Final

from sqlite_utils import Database

from wherry_controller.core.rollouts import Rollout
from wherry_controller.fleet import rollouts
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import versions
from wherry_controller.store.registry import BundleRow

HOW: Final = {
    "active": "serves on",
    "previous": "is the way back of",
    "candidate": "stands by on",
    "assigned": "is assigned to",
}


def protected(db: Database, model: str, open_ones: Collection[Rollout]) -> dict[bytes, list[str]]:
    """digest -> every reason why the version is needed; one that nobody needs is not there."""
    found: defaultdict[bytes, list[str]] = defaultdict(list)
    for digest, how, count, example in versions.uses(db, model):
        found[digest].append(f"{HOW[how]} {_units(count, example)}")
    open_ids = {rollout.rollout_id for rollout in open_ones}
    for digest, rollout_id, count, example in versions.ways_back(db, model):
        if rollout_id not in open_ids:  # of these, more is known
            units = _units(count, example)
            found[digest].append(f"is where a revert of {rollout_id} takes {units}")
    for digest, name in versions.run_by_groups(db, model):
        found[digest].append(f"is what the group {name} runs")
    for rollout in open_ones:
        if rollout.model != model:
            continue
        found[rollout.digest].append(f"is in the open rollout {rollout.rollout_id}")
        for digest in {first for m in rollout.members.values() for first in m.first}:
            found[digest].append(f"is brought first by the open rollout {rollout.rollout_id}")
        for digest in {m.before for m in rollout.members.values() if m.before is not None}:
            if digest != rollout.digest:
                found[digest].append(f"is the way back of the open rollout {rollout.rollout_id}")
    return dict(found)


def _units(count: int, example: str) -> str:
    return example if count == 1 else f"{count} units ({example}, …)"


def why(org: Organization, row: BundleRow) -> str:
    """Who needs this version, in one line; empty for nobody."""
    return "; ".join(protected(org.db, row.model, rollouts.open_ones(org)).get(row.digest, []))
