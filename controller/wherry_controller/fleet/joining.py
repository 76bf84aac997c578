"""Who joins a dynamic group gets what the group runs.

Rules:
1. Once a minute dynamic groups are asked who has joined. To a unit that has, what the group runs
   is owed; so it is to one that joined while a rollout went on, when that has succeeded.
2. All to whom the same is owed get it by one ordinary rollout, audited, under the trial of the
   rollout that brought it to the group (the source), a few devices at a time. One that fails takes
   it from nobody else; the test of failed updates still stops a version that fails there.
3. What the source demands of a unit holds here too: `must_pass`, and the week's window, outside of
   which nothing is tried. The source has answered for how the version spreads; what its admin let
   pass is let pass here too. Everything else that an environment demands is demanded of these
   units.
4. A unit that cannot be given it is named in a notice, once, and stays owed. Where some together
   are refused, half of them are tried next, so that one does not keep the others from it.
5. While all is stopped, it is noted who joins, and nothing is tried.
6. Groups may be told apart by what their devices serve, and so hand a device to each other for
   ever. What another group's rollout took a unit off is not brought to it again within a day.
"""

import dataclasses
from collections.abc import Iterator
from typing import Final

from wherry_protocol.errors import WherryError

from wherry_controller.core.assurance.suites import DRILLS
from wherry_controller.core.plans.schedule import (
    of_the_week,
    opens_in_s,
    window_of,
    window_table,
)
from wherry_controller.core.rollouts import Rollout, State
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.core.selector import TEXT_MAX, Facts, parse_selector
from wherry_controller.fleet import (
    assigning,
    assuring,
    deploying,
    desires,
    passing,
    rollouts,
    targets,
    trustees,
)
from wherry_controller.fleet.assigning import Wish
from wherry_controller.fleet.assuring import Papers
from wherry_controller.fleet.organization import SYSTEM, Organization
from wherry_controller.store import (
    assignments,
    assurance,
    devices,
    groups,
    performance,
    registry,
    verifications,
)
from wherry_controller.store import rollouts as kept
from wherry_controller.store.devices import Unit
from wherry_controller.store.groups import GroupRow, OwedRow, RunRow

JOIN_S: Final = 60.0  # so often dynamic groups are asked who has joined
AGAIN_S: Final = 86_400.0  # rule 6
UNITS_MAX: Final = 250  # in one rollout; the others follow with the next
PARALLEL_MAX: Final = 20
ANSWERED: Final = frozenset({"gradual", "success_criteria", "approval", "announced"})  # rule 3


def join(org: Organization, now_s: float) -> None:
    """Notice who has joined or left, and bring what is owed."""
    dynamic = [row for row in groups.everyone(org.db) if row.is_dynamic]
    if not dynamic:
        return
    fleet = targets.facts(org.db)
    for row in dynamic:
        runs = groups.runs(org.db, row.name)
        _note(org, row, runs, fleet, now_s)
        for run in () if trustees.is_stopped(org) else runs:
            _bring(org, row, run, now_s)


def _note(
    org: Organization, row: GroupRow, runs: list[RunRow], fleet: list[Facts], now_s: float
) -> None:
    matches = parse_selector(row.target).matches
    now = {facts.name for facts in fleet if matches(facts, now_s)}
    known = groups.units(org.db, row.name)
    for unit in sorted(known - now):
        groups.remove_unit(org.db, row.name, unit)
        org.record(now_s, SYSTEM, "group.leave", row.name, unit=unit)
    for unit in sorted(now - known):
        groups.add_unit(org.db, row.name, unit)
        groups.put_owed(org.db, [OwedRow(row.name, run.model, unit) for run in runs])
        org.record(now_s, SYSTEM, "group.join", row.name, unit=unit)


def _bring(org: Organization, row: GroupRow, run: RunRow, now_s: float) -> None:
    owed = groups.owed(org.db, row.name, run.model)
    if not owed:
        return
    source = rollouts.load(org, run.rollout)
    if source.state is not State.SUCCEEDED:  # it was reverted since: what the group runs is
        groups.settle(org.db, row.name, run.model, (one.unit for one in owed))  # not certain
        return
    if opens_in_s(of_the_week(source.plan.schedule), now_s):
        return  # who joins until then shares one rollout
    found = dict(_obstacles(org, source, [one.unit for one in owed], now_s))
    groups.settle(org.db, row.name, run.model, (unit for unit in found if found[unit] is None))
    for one in owed:
        if found[one.unit]:
            _tell(org, source, [one], f"{found[one.unit]}", row, now_s)
    together = [one for one in owed if found[one.unit] == ""]
    chosen = _as_many_as_go_together(together)
    if chosen:
        _roll_out(org, row, source, chosen, now_s)


def _obstacles(
    org: Organization, source: Rollout, units: list[str], now_s: float
) -> Iterator[tuple[str, str | None]]:
    """Why each unit cannot be given it now: an empty text if it can, None if it has it."""
    bundle = registry.bundle(org.db, source.digest)
    manifest = desires.manifest_of(bundle.manifest)
    window = window_of(of_the_week(source.plan.schedule))
    wish = Wish(bundle, manifest, source.plan.trial, "rollout", window=window)
    rivals = [one for one in rollouts.open_ones(org) if one.model == source.model]
    drilled = verifications.under_way(org.db, source.model, DRILLS)
    for name in units:
        unit = devices.find_unit(org.db, *devices.split_id(name))
        if unit is None:
            yield name, None
            continue
        served = devices.find_model(org.db, unit.connection, unit.unit, source.model)
        holder = next((one for one in rivals if _holds(one, name)), None)
        unfit = assigning.why_unfit(org, unit, wish)
        if name in drilled:
            yield name, f"it is in the drill {drilled[name]}"
        elif served is not None and served.active_digest == source.digest:
            yield name, None
        elif holder is not None:
            yield name, f"it belongs to the open rollout {holder.rollout_id}"
        elif unfit is not None:
            yield name, unfit[1]
        else:
            taken = _why_taken_off(org, unit, source, now_s)
            yield name, taken or passing.way_of(org.db, source, name)[1]


def _why_taken_off(org: Organization, unit: Unit, source: Rollout, now_s: float) -> str:
    """Rule 6, or an empty text."""
    held = assignments.find(org.db, unit.connection, unit.unit, source.model)
    if held is None or not held.rollout or now_s - held.assigned_s >= AGAIN_S:
        return ""
    is_by_joining = rollouts.load(org, held.rollout).created_by == SYSTEM
    if not is_by_joining or not performance.known_to_have_run(
        org.db, [unit.id], source.model, [source.version]
    ):
        return ""
    return f"another group's rollout took it off {source.version} within a day ({held.rollout})"


def _holds(rollout: Rollout, unit: str) -> bool:
    member = rollout.members.get(unit)
    return member is not None and member.phase is not MemberPhase.SKIPPED


def _as_many_as_go_together(owed: list[OwedRow]) -> list[OwedRow]:
    """Those it was tried with least often, half as many after each refusal; after one alone was
    refused, all of them (rule 4)."""
    size = min(len(owed), UNITS_MAX)
    chosen = owed[: size >> (owed[0].tries % size.bit_length())] if owed else []
    while len(", ".join(one.unit for one in chosen)) > TEXT_MAX:
        chosen = chosen[: len(chosen) * 3 // 4]
    return chosen


def _roll_out(
    org: Organization, row: GroupRow, source: Rollout, owed: list[OwedRow], now_s: float
) -> None:
    forced = ANSWERED | assuring.let_pass(assurance.papers(org.db, source.rollout_id))
    plan = {
        "trial": dataclasses.asdict(source.plan.trial),
        "parallel_max": PARALLEL_MAX,
        "max_failed": len(owed),  # the group runs it: one bad device is no bad version
        "on_call": source.plan.on_call,
        "must_pass": list(source.plan.must_pass),
        "must_pass_missing": source.plan.must_pass_missing,
        "window": window_table(source.plan.schedule),
        "inference_deadline_us": source.plan.inference_deadline_us,
    }
    order = deploying.Order(
        source.model, source.version, ", ".join(one.unit for one in owed), plan,
        f"{_units(owed)} joined group {row.name}", is_started=True, acknowledges_notes=True,
        papers=Papers(forced=forced),
    )  # fmt: skip
    before = set(org.rollouts)
    try:
        with org.db.atomic():  # a refusal takes back no more than this
            deploying.create(org, order, SYSTEM, now_s)
    except WherryError as error:
        rollouts.forget_new(org, before)
        owed = [dataclasses.replace(one, tries=one.tries + 1) for one in owed]
        groups.put_owed(org.db, owed)
        _tell(org, source, owed, str(error), row, now_s)
    else:
        groups.settle(org.db, row.name, source.model, [one.unit for one in owed])


def _tell(
    org: Organization,
    source: Rollout,
    owed: list[OwedRow],
    why: str,
    row: GroupRow,
    now_s: float,
) -> None:
    """Say who does not get it, of whom it was not said before."""
    news = [dataclasses.replace(one, is_told=1) for one in owed if not one.is_told]
    if not news:
        return
    groups.put_owed(org.db, news)
    text = (
        f"{_units(news)} joined group {row.name} and does not get {source.model} {source.version}:"
        f" {why}; it is tried again every minute"
    )
    topic = f"join {news[0].unit}"
    kept.put_notice(org.db, kept.Notice(None, now_s, "warning", topic, source.rollout_id, text))


def _units(owed: list[OwedRow]) -> str:
    return owed[0].unit if len(owed) == 1 else f"{len(owed)} units"
