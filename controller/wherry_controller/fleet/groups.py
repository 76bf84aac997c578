"""Groups: names for selectors and lists, and what a device gets that joins one.

Rules:
1. A static group is the units that its selector took when it was made; a dynamic one is asked
   each time. A group's selector names no other group.
2. What a dynamic group runs is what the newest succeeded rollout to `group:NAME`, and to nothing
   else, brought it.
3. A unit that joins gets that by an ordinary rollout of its own, audited, under the same trial;
   one that cannot be given it is named in a notice, once.
"""

import dataclasses
from collections.abc import Mapping

from sqlite_utils import Database
from wherry_protocol.errors import Code, StateError, WherryError
from wherry_protocol.names import LABEL

from wherry_controller.core.assurance import PRECONDITIONS
from wherry_controller.core.rollouts import State
from wherry_controller.core.selector import Facts, parse_selector, select
from wherry_controller.fleet import deploying, rollouts, targets
from wherry_controller.fleet.assuring import Papers
from wherry_controller.fleet.organization import SYSTEM, Organization
from wherry_controller.store import devices, groups, registry
from wherry_controller.store import rollouts as kept
from wherry_controller.store.groups import GroupRow, RunRow

JOIN_S = 60.0  # so often dynamic groups are asked who has joined


def create(
    org: Organization, name: str, target: str, is_dynamic: bool, who: str, now_s: float
) -> GroupRow:
    """Name a part of the fleet. Raises WherryError(INVALID), StateError where the name is taken."""
    if not LABEL.fullmatch(name):
        raise WherryError(f"group {name!r} is no name: letters, digits, - and _", Code.INVALID)
    if groups.find(org.db, name) is not None:
        raise StateError(f"group {name} exists already; delete it first")
    selector = parse_selector(target)
    if is_dynamic and selector.share_bp is not None:
        raise WherryError("a dynamic group has no percentage: it would change", Code.INVALID)
    row = GroupRow(name, target, int(is_dynamic), now_s, who)
    groups.put(org.db, row)
    found = select(selector, targets.facts(org.db), now_s, name.encode())
    for facts in found:
        groups.add_unit(org.db, name, facts.name)
    org.record(now_s, who, "group.create", name, target=target, is_dynamic=is_dynamic,
               units=len(found))  # fmt: skip
    return row


def delete(org: Organization, name: str, who: str, reason: str, now_s: float) -> None:
    """Forget the name; what its units run stays. Raises NotFoundError."""
    groups.get(org.db, name)
    groups.delete(org.db, name)
    org.record(now_s, who, "group.delete", name, reason)


def members(db: Database, row: GroupRow, now_s: float) -> list[Facts]:
    """Its units now."""
    return targets.chosen(db, f"group:{row.name}", now_s)


def join(org: Organization, now_s: float) -> None:
    """Give those who joined a dynamic group what it runs (rule 3)."""
    dynamic = [row for row in groups.everyone(org.db) if row.is_dynamic]
    if not dynamic:
        return
    fleet = targets.facts(org.db)
    for row in dynamic:
        matches = parse_selector(row.target).matches
        now = {facts.name: facts for facts in fleet if matches(facts, now_s)}
        known = groups.units(org.db, row.name)
        for unit in sorted(known - now.keys()):
            groups.remove_unit(org.db, row.name, unit)
            org.record(now_s, SYSTEM, "group.leave", row.name, unit=unit)
        for unit in sorted(now.keys() - known):
            groups.add_unit(org.db, row.name, unit)
            org.record(now_s, SYSTEM, "group.join", row.name, unit=unit)
            for run in groups.runs(org.db, row.name):
                _bring(org, row, run, now[unit], now_s)


def _bring(org: Organization, row: GroupRow, run: RunRow, facts: Facts, now_s: float) -> None:
    source = rollouts.load(org, run.rollout)
    if source.state is not State.SUCCEEDED:
        return  # it was reverted since: the group runs something else, or nothing certain
    served = devices.find_model(org.db, facts.connection, facts.unit, run.model)
    if served is not None and served.active_digest == source.digest:
        return
    version = registry.bundle(org.db, source.digest).version
    reason = f"{facts.name} joined group {row.name}"
    plan: Mapping[str, object] = {"trial": dataclasses.asdict(source.plan.trial)}
    order = deploying.Order(
        run.model, version, facts.name, dict(plan), reason, is_started=True,
        acknowledges_notes=True, papers=Papers(forced=frozenset(PRECONDITIONS)),
    )  # fmt: skip
    try:
        deploying.create(org, order, SYSTEM, now_s)
    except WherryError as error:
        text = f"{reason} and does not get {run.model} {version}: {error}"
        notice = kept.Notice(None, now_s, "warning", f"join {facts.name}", run.rollout, text)
        kept.put_notice(org.db, notice)
