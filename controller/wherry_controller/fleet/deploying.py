"""What operators order: rollouts of a bundle, and the way back.

A rollback by an operator outranks rollouts: it takes its units out of them, and the version that
they leave is remembered as bad there, so that neither a rollout nor a second "to previous" brings
it back by itself.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlite_utils import Database
from wherry_protocol.errors import Code, StateError, WherryError
from wherry_protocol.messages.desired import Mode

from wherry_controller.core.assurance import hurried
from wherry_controller.core.assurance.suites import DRILLS
from wherry_controller.core.plans.plan import Plan
from wherry_controller.core.rollouts import OPEN, Candidate, Rollout, State, draft, parse_plan
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.rollouts.keeping import all_parts
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.core.rollouts.slots import SLOTS, has_switch, other_slot
from wherry_controller.core.selector import ENVIRONMENTS
from wherry_controller.fleet import (
    assigning,
    assuring,
    carrying,
    desires,
    passing,
    promoting,
    releasing,
    rollouts,
    targets,
    trustees,
    verifying,
)
from wherry_controller.fleet.assigning import Wish
from wherry_controller.fleet.assuring import NO_PAPERS, Papers
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import assignments, devices, meta, registry, verifications
from wherry_controller.store import rollouts as kept
from wherry_controller.store.devices import Unit, UnitModel
from wherry_controller.store.registry import BundleRow
from wherry_controller.store.rollouts import RolloutRow

SLOTTED: Final = re.compile(f"(?P<env>{'|'.join(ENVIRONMENTS)})-(?P<slot>{'|'.join(SLOTS)})")


@dataclass(frozen=True, slots=True)
class Order:
    """A rollout as asked for; `plan` is the table of a rollout file."""

    model: str
    version: str
    target: str
    plan: dict[str, Any]
    reason: str
    is_started: bool
    acknowledges_notes: bool = False
    papers: Papers = NO_PAPERS


@dataclass(frozen=True, slots=True)
class WayBack:
    """A rollback as asked for; `to_version` None means each unit's previous version."""

    model: str
    target: str
    to_version: str | None
    reason: str
    plan: dict[str, Any]
    is_emergency: bool = False


def create(org: Organization, order: Order, who: str, now_s: float) -> str:
    """Draft a rollout, and start it if asked. Its id.

    Raises NotFoundError, ContractError(NO_BUDGET), StateError, WherryError(INVALID | STOPPED).
    """
    if order.is_started and trustees.is_stopped(org):
        raise StateError("the fleet is stopped; release the stop first", Code.STOPPED)
    assuring.check_papers(order.papers, order.reason)
    rollout = drafted(org.db, rollouts.open_ones(org), order, who, now_s)
    rollout_id = rollout.rollout_id
    assuring.put_papers(org, rollout_id, order.papers)
    meta.put(org.db, "rollouts.count", rollout_id.rpartition("-")[2])
    row = RolloutRow(rollout_id, order.model, rollout.digest, rollout.state.value, 1, now_s, now_s)
    kept.add(org.db, row)
    org.open_ids = None
    kept.put_parts(org.db, rollout_id, all_parts(rollout))
    terms = releasing.keep(org, rollout, who, order.acknowledges_notes)
    org.rollouts[rollout_id] = rollout
    org.record(
        now_s, who, "rollout.create", rollout_id, order.reason, target=order.target,
        model=order.model, version=order.version, strategy=rollout.plan.strategy,
        preset=rollout.plan.preset, units=len(rollout.members),
        overrides=list(rollout.plan.overrides), environment=rollout.plan.environment,
        is_emergency=order.papers.is_emergency,
        bump=terms["bump"],
        acknowledged_by=terms["acknowledged_by"],
    )  # fmt: skip
    if order.is_started:
        start(org, rollout_id, who, order.reason, now_s, order.papers.forced)
    return rollout_id


def drafted(
    db: Database, open_ones: Iterable[Rollout], order: Order, who: str, now_s: float
) -> Rollout:
    """The rollout that `create` would keep: for a preview, nothing is written."""
    bundle = registry.version(db, order.model, order.version)
    promoting.check_deployable(bundle)
    rollout_id = _next_id(db, bundle)
    order = addressed(order)
    plan = parse_plan(order.plan)
    if order.version in plan.must_pass:
        why = f"must_pass: {order.version} cannot be what must have run before it"
        raise WherryError(why, Code.INVALID)
    candidates = list(_candidates(db, order, rollout_id, now_s))
    _refuse_drilled(db, order.model, candidates)
    rollout = draft(
        rollout_id,
        desires.manifest_of(bundle.manifest),
        bundle.digest,
        hurried(plan) if order.papers.is_emergency else plan,
        candidates,
        created_by=who,
        now_s=now_s,
        claimed=_claimed(db, open_ones, order),
    )
    slot = _slot(db, order, rollout, candidates) if has_switch(rollout) else plan.slot
    rollout.plan = replace(rollout.plan, target=order.target, slot=slot)
    return rollout


def _refuse_drilled(db: Database, model: str, candidates: Sequence[Candidate]) -> None:
    """What such a unit runs is not what it ran before the rollout, and the drill takes it home."""
    drilled = verifications.under_way(db, model, DRILLS)
    taken = sorted(one.unit for one in candidates if one.unit in drilled)
    if taken:
        runs = sorted({drilled[unit] for unit in taken})
        verb = "is" if len(taken) == 1 else "are"
        raise StateError(
            f"{len(taken)} of {len(candidates)} units (first {taken[0]}) {verb} in"
            f" {', '.join(runs)}, a drill of {model} that ends on what served when it began;"
            f" await it (wherry verification show {runs[0]}), or leave them out"
        )


def addressed(order: Order) -> Order:
    """`production-green` means: blue-green, in the green slot of env=production.

    Raises WherryError(INVALID) where the plan says something else.
    """
    match = SLOTTED.fullmatch(order.target.strip())
    if match is None:
        return order
    strategy = str(order.plan.get("strategy", "blue-green")).replace("_", "-")
    if strategy != "blue-green" or "stages" in order.plan:
        raise WherryError(
            f"target {order.target} means blue-green; for another strategy take env={match['env']}",
            Code.INVALID,
        )
    plan = order.plan | {"strategy": "blue-green", "slot": match["slot"]}
    return replace(order, target=f"env={match['env']}", plan=plan)


def _slot(db: Database, order: Order, rollout: Rollout, candidates: list[Candidate]) -> str:
    """Where it is staged: the slot that does not serve. Raises StateError for the one that does,
    which is what most of the selected devices serve from."""
    serve: Counter[str] = Counter()
    for (environment, digest), count in Counter((c.environment, c.running) for c in candidates
                                                if c.running is not None).items():  # fmt: skip
        key = carrying.slot_key(environment, rollout.model, digest)
        serve[meta.get(db, key, SLOTS[0])] += count
    serving = max(SLOTS, key=lambda slot: serve[slot])
    wanted = order.plan.get("slot", other_slot(serving))
    if wanted == serving:
        where = rollout.plan.environment or "this part of the fleet"
        raise StateError(
            f"{serving} serves {rollout.model} in {where}; stage in {other_slot(serving)}"
        )
    return str(wanted)


def start(
    org: Organization,
    rollout_id: str,
    who: str,
    reason: str,
    now_s: float,
    forced: frozenset[str] = frozenset(),
) -> None:
    """Approve a draft and start it, whatever of `forced` fails.

    Raises StateError where it is no draft, all is stopped, a precondition does not hold, or it
    waits already for another rollout to end.
    """
    if trustees.is_stopped(org):
        raise StateError("the fleet is stopped; release the stop first", Code.STOPPED)
    rollout = rollouts.load(org, rollout_id)
    first = rollouts.load(org, rollout.plan.after) if rollout.plan.after else None
    has_to_wait = first is not None and first.state in OPEN
    if first is not None and has_to_wait and rollout.state is State.APPROVED:
        raise StateError(
            f"rollout {rollout_id} follows {first.rollout_id}, which is {first.state.value}:"
            " it starts when that has succeeded; await or abort that one"
        )
    if rollout.state in assuring.UNSTARTED:
        assuring.admit(org, rollout_id, who, forced, reason, now_s)
    if rollout.state is State.DRAFT:
        rollouts.tell(org, rollout_id, told.Approve(who, reason), now_s)
    if has_to_wait:
        return  # `start_those_after` starts it
    passing.prepare(org, rollouts.load(org, rollout_id), now_s)
    rollouts.tell(org, rollout_id, told.LinkChanged(org.link_is_up), now_s)
    rollouts.tell(org, rollout_id, told.Start(who, reason), now_s)
    # A member is believed to be there until somebody says otherwise.
    members = {unit.partition("/")[0] for unit in rollouts.load(org, rollout_id).members}
    for name in devices.offline(org.db):
        if name in members:
            rollouts.presence(org, name, now_s)


def start_those_after(org: Organization, now_s: float) -> None:
    """Start what waited for a rollout that has succeeded; where it has not, say so once."""
    for rollout in rollouts.open_ones(org):
        if rollout.state is not State.APPROVED or not rollout.plan.after:
            continue
        first = rollouts.load(org, rollout.plan.after)
        if first.state in OPEN or rollout.progress.told_after or trustees.is_stopped(org):
            continue
        problem = f"{first.rollout_id} is {first.state.value}"
        if first.state is State.SUCCEEDED:
            why = f"{first.rollout_id} has succeeded"
            try:
                start(org, rollout.rollout_id, rollout.progress.approved_by, why, now_s)
                continue
            except WherryError as error:
                problem = str(error)
        rollout.progress.told_after = True
        org.dirty.add(rollout.rollout_id)
        text = (
            f"{rollout.rollout_id} was to follow {first.rollout_id} and does not: {problem};"
            " start it with wherry rollout approve, or abort it"
        )
        topic = f"after {first.rollout_id}"
        notice = kept.Notice(None, now_s, "warning", topic, rollout.rollout_id, text)
        kept.put_notice(org.db, notice)


def _next_id(db: Database, bundle: BundleRow) -> str:
    number = int(meta.get(db, "rollouts.count", "0")) + 1
    return f"{bundle.model}-{bundle.version}-{number}"


def _candidates(db: Database, order: Order, rollout_id: str, now_s: float) -> Iterator[Candidate]:
    serving = devices.serving(db, order.model)
    for facts in targets.chosen(db, order.target, now_s, rollout_id.encode()):
        name = facts.name
        _, running = serving.get(name, (None, None))
        environment = facts.labels.get("env", "")
        yield Candidate(name, facts.hardware_class, running, environment)


def _claimed(
    db: Database, open_ones: Iterable[Rollout], order: Order
) -> dict[tuple[str, str], str]:
    """(unit, model) -> the open rollout that holds it, but the one that this order follows.

    Raises NotFoundError or StateError where it follows one that cannot come first.
    """
    model, after = order.model, str(order.plan.get("after", ""))
    if after and (first := kept.get(db, after)).model != model:
        raise StateError(f"rollout {after} is of {first.model}, and not of {model}")
    return {
        (member.unit, model): rollout.rollout_id
        for rollout in open_ones
        if rollout.model == model and rollout.rollout_id != after
        for member in rollout.members.values()
        if member.phase is not MemberPhase.SKIPPED
    }


def roll_back(org: Organization, order: WayBack, who: str, now_s: float) -> dict[str, Any]:
    """Send units back. What each one gets, or why it gets nothing.

    Raises StateError where not one unit can go back, WherryError where none is selected.
    """
    if trustees.is_stopped(org):
        raise StateError("the fleet is stopped; release the stop first", Code.STOPPED)
    selected = targets.chosen(org.db, order.target, now_s)
    if not selected:
        raise WherryError(f"target {order.target!r} selects no unit", Code.NOT_FOUND)
    plan = parse_plan(order.plan)
    sent: dict[str, str] = {}
    passed: dict[str, str] = {}
    for facts in selected:
        unit = devices.unit(org.db, facts.connection, facts.unit)
        version, problem = _send_back(org, unit, order, plan, who, now_s)
        (passed if problem else sent)[unit.id] = problem or version
    if not sent:
        first, why = next(iter(passed.items()))
        raise StateError(f"no unit can go back: {first}: {why}")
    org.record(now_s, who, "rollback", order.model, order.reason, sent=sent, passed=passed)
    if order.is_emergency:
        what = f"rollback of {order.model} on {len(sent)} units"
        assuring.tell_of_emergency(org, what, "", who, order.reason, now_s)
    _abort_what_is_undone(org, order, frozenset(sent), who, now_s)
    run_id = verifying.verify_restored(org, order.model, order.target, sent, who, now_s)
    return {"sent": sent, "passed": passed, "verification": run_id}


def _abort_what_is_undone(
    org: Organization, order: WayBack, sent: frozenset[str], who: str, now_s: float
) -> None:
    """A rollout whose every touched device was sent back has nothing left to spread."""
    for rollout in rollouts.open_ones(org):
        touched = {m.unit for m in rollout.members.values() if m.phase is not MemberPhase.PENDING}
        if rollout.model == order.model and touched and touched <= sent:
            reason = f"rolled back everywhere: {order.reason}"
            rollouts.tell(org, rollout.rollout_id, told.Abort(who, reason), now_s)


def _send_back(
    org: Organization, unit: Unit, order: WayBack, plan: Plan, who: str, now_s: float
) -> tuple[str, str]:
    """(version, "") or ("", problem). From a drill that is away it goes as if it were home."""
    key = (unit.connection, unit.unit, order.model)
    row = devices.find_model(org.db, *key)
    if row is None or row.active_digest is None:
        return "", f"it serves no {order.model}"
    leaves, drill = row.active_digest, verifying.drill_away(org, key)
    if drill is not None:
        leaves, row = drill.digest, verifying.at_home(org, row, drill)
    bundle, problem = _goal(org, unit, row, order)
    if bundle is None:
        return "", problem
    manifest = desires.manifest_of(bundle.manifest)
    if unit.hardware_class not in manifest.budgets:
        return "", f"{bundle.version} has no budget for class {unit.hardware_class}"
    trial = carrying.way_back_trial(plan.trial, unit, bundle)
    attempt = assigning.next_attempt(org, unit, order.model)
    wish = Wish(bundle, manifest, trial, "manual", "", Mode.ACTIVE, attempt,
                plan.inference_deadline_us)  # fmt: skip
    unfit = assigning.why_unfit(org, unit, wish)
    if unfit is not None:
        return "", unfit[1]
    verifying.take_from_drill(org, key, f"a rollback by {who} took the device", now_s)
    reason = f"rolled back by {who}: {order.reason}"
    rollouts.preempt(org, unit.id, order.model, reason, now_s)
    assigning.remember_as_bad(org, unit, leaves, Code.FAILED, reason, now_s)
    assigning.assign(org, devices.unit(org.db, unit.connection, unit.unit), wish, now_s)
    return bundle.version, ""


def _goal(
    org: Organization, unit: Unit, row: UnitModel, order: WayBack
) -> tuple[BundleRow | None, str]:
    """The bundle to go back to, or why there is none."""
    if order.to_version is not None:
        bundle = registry.version(org.db, order.model, order.to_version)
        if bundle.digest == row.active_digest:
            return None, f"it serves {bundle.version} already"
        return bundle, ""
    if row.previous_digest is None:
        return None, "it has no previous version"
    failure = assignments.failure(org.db, unit.connection, unit.unit, row.previous_digest)
    if failure is not None:
        return None, f"its previous version {row.previous_version} is bad: {failure.reason}"
    found = registry.find_bundle(org.db, row.previous_digest)
    problem = f"its previous version {row.previous_version} is not in the registry"
    return found, "" if found is not None else problem
