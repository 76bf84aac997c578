"""Drives the pure rollout core: events in, effects carried out, state kept.

Rules:
1. A rollout's state, its effects on desired documents and its audit rows commit together: every
   caller holds the transaction and calls `keep` (through `Fleet`) before it ends.
2. The core's state is mutable: when a transaction fails, `forget` drops what is in memory, and
   the next use restores what was committed.
3. Whoever outranks a rollout (stop, isolation, guard, an operator's own assignment) takes the
   unit; the rollout's member becomes `skipped`.
4. Under a stop nothing runs or goes on: units that were offered something then would be refused,
   and skipped for good. What the guard held is the operator's from then on.
5. One that winds down claims nobody: whoever takes a unit of it, another rollout included, tells
   it, so that it names nobody who was not to come back any more.
"""

from collections import deque
from collections.abc import Container, Iterable
from enum import IntEnum
from typing import TypeVar

from sqlite_utils import Database
from wherry_protocol.codec import Unknown
from wherry_protocol.errors import Code, StateError
from wherry_protocol.messages.reported import Outcome, Phase

from wherry_controller.core.gates.pools import Figures
from wherry_controller.core.performance import Performance
from wherry_controller.core.rollouts import (
    OPEN,
    Rollout,
    State,
    changes,
    clock_was_set,
    decide,
    is_winding_down,
    may_be_silent,
    restore,
)
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.rollouts.effects import Assign
from wherry_controller.core.rollouts.events import Event
from wherry_controller.core.rollouts.members import MemberPhase, Return
from wherry_controller.fleet import carrying, trustees
from wherry_controller.fleet.organization import Organization
from wherry_controller.fleet.reports import Seen
from wherry_controller.store import assignments, devices
from wherry_controller.store import rollouts as kept
from wherry_controller.store.devices import UnitModel

ENDED_IN_MEMORY_MAX = 20
CONTROL_S = 10.0  # so long a count of the control group holds
UJ_PER_J = 1e6
SERVING_SLOT = "active"
HELD = "held for"  # so the reason begins where the guard paused, and will let it go on itself
GOING_ON = (told.Resume, told.Widen)
E = TypeVar("E", bound=IntEnum)


def known(enum: type[E], value: int) -> E | Unknown:
    """The enum's value, or Unknown where this version has no name for it."""
    found = enum._value2member_map_.get(value)
    return Unknown(value) if found is None else enum(value)


def load(org: Organization, rollout_id: str) -> Rollout:
    """The rollout as it stands. Raises NotFoundError."""
    found = org.rollouts.get(rollout_id)
    if found is None:
        kept.get(org.db, rollout_id)
        found = restore(kept.parts(org.db, rollout_id))
        org.rollouts[rollout_id] = found
    return found


def open_ones(org: Organization) -> list[Rollout]:
    """Those that can still touch a device, as they were kept last; every message asks."""
    if org.open_ids is None:
        org.open_ids = tuple(row.id for row in kept.open_ones(org.db))
    return [load(org, rollout_id) for rollout_id in org.open_ids]


def open_in(db: Database, model: str | None = None) -> list[Rollout]:
    """The same as they are kept, for who asks beside the writer: of a model, or of each."""
    rows = [row for row in kept.open_ones(db) if model in (None, row.model)]
    return [restore(kept.parts(db, row.id)) for row in rows]


def live_ones(org: Organization) -> list[Rollout]:
    """The open ones, and those that wind down."""
    return open_ones(org) + winding_ones(org)


def winding_ones(org: Organization) -> list[Rollout]:
    """Those that have ended and still take something back."""
    if org.winding_ids is None:
        org.winding_ids = tuple(row.id for row in kept.winding_down(org.db))
    return [load(org, rollout_id) for rollout_id in org.winding_ids]


def tell(org: Organization, rollout_id: str, event: Event, now_s: float) -> Rollout:
    """Hand an event to a rollout and carry out what follows.

    Raises StateError for a refusal; nothing goes on while the fleet is stopped (rule 4).
    """
    if isinstance(event, GOING_ON) and trustees.is_stopped(org):
        raise StateError("the fleet is stopped; release the stop first", Code.STOPPED)
    waiting: deque[Event] = deque([event])
    while waiting:
        before = load(org, rollout_id)
        after, effects = decide(before, waiting.popleft(), now_s)
        org.rollouts[rollout_id] = after
        org.dirty.add(rollout_id)
        for effect in effects:
            answer = carrying.carry_out(org, after, effect, now_s)
            if answer is not None:
                waiting.append(answer)
            if isinstance(effect, Assign) and isinstance(answer, told.Assigned):
                _take_over(org, after, effect.unit, now_s)
    return load(org, rollout_id)


def _take_over(org: Organization, by: Rollout, unit_id: str, now_s: float) -> None:
    """Those that still waited for the unit to come back wait for it no more (rule 5)."""
    for rollout in winding_ones(org):
        is_other = rollout.rollout_id != by.rollout_id and rollout.model == by.model
        if is_other and unit_id in rollout.members:
            event = told.PassedOver(unit_id, f"taken by {by.rollout_id}", is_taken=True)
            tell(org, rollout.rollout_id, event, now_s)


def keep(org: Organization, now_s: float) -> None:
    """Write what changed, inside the transaction that is open."""
    for rollout_id in sorted(org.dirty):
        rollout = org.rollouts[rollout_id]
        kept.put_parts(org.db, rollout_id, changes(rollout))
        is_open, is_winding = rollout.state in OPEN, is_winding_down(rollout)
        kept.update(org.db, rollout_id, rollout.state.value, now_s,
                    is_open=is_open, is_winding_down=is_winding)  # fmt: skip
        if org.open_ids is not None and is_open != (rollout_id in org.open_ids):
            org.open_ids = None
        if org.winding_ids is not None and is_winding != (rollout_id in org.winding_ids):
            org.winding_ids = None
    org.dirty.clear()
    ended = [
        rollout_id
        for rollout_id, rollout in org.rollouts.items()
        if rollout.state not in OPEN and not is_winding_down(rollout)
    ]
    for rollout_id in ended[:-ENDED_IN_MEMORY_MAX]:
        del org.rollouts[rollout_id]
        org.control_counted_s.pop(rollout_id, None)


def forget(org: Organization) -> None:
    """The transaction failed: what is in memory is ahead of what is kept."""
    org.rollouts.clear()
    org.dirty.clear()
    org.open_ids = org.winding_ids = None


def forget_new(org: Organization, before: Container[str]) -> None:
    """One that was being made was refused, and touched no other: drop it alone."""
    for rollout_id in [one for one in org.rollouts if one not in before]:
        del org.rollouts[rollout_id]
        org.dirty.discard(rollout_id)
    org.open_ids = None


def observe(org: Organization, changed: Iterable[UnitModel], now_s: float) -> None:
    """Tell each model's rollout what its unit reported of the assignment."""
    for row in changed:
        assigned = assignments.find(org.db, row.connection, row.unit, row.model)
        if assigned is None or not assigned.rollout:
            continue
        event = told.Observed(
            f"{row.connection}/{row.unit}",
            row.assignment_id,
            known(Phase, row.phase),
            known(Outcome, row.outcome),
            row.active_digest,
            row.good_inferences,
            known(Code, row.code),
            row.reason,
            row.candidate_digest,
        )
        tell(org, assigned.rollout, event, now_s)


def presence(org: Organization, connection: str, now_s: float) -> None:
    """Tell open rollouts that the units of a connection came or went."""
    is_online = bool(devices.connection(org.db, connection).is_online)
    for unit in devices.units(org.db, connection):
        for rollout in open_ones(org):
            if unit.id in rollout.members:
                event = told.Presence(unit.id, is_online)
                tell(org, rollout.rollout_id, event, now_s)


def watch(org: Organization, seen: Iterable[Seen], now_s: float) -> None:
    """Tell open rollouts what telemetry says: of members, and of units to compare with."""
    rollouts = open_ones(org)
    if not rollouts:
        return
    for report in seen:
        unit = devices.unit(org.db, report.connection, report.unit)
        for rollout in rollouts:
            for event in _events_of(rollout, unit, report):
                tell(org, rollout.rollout_id, event, now_s)


def _events_of(rollout: Rollout, unit: devices.Unit, report: Seen) -> list[Event]:
    found: list[Event] = [
        told.Performance(unit.id, unit.hardware_class, one.digest, figures(one), report.ended_s)
        for one in report.performances
        if one.model == rollout.model and one.slot == SERVING_SLOT
    ]
    found += [
        told.Shadowed(unit.id, one.digest, one.shadow)
        for one in report.performances
        if one.shadow is not None and one.model == rollout.model
    ]
    used = report.resources.get("memory.rss", report.resources.get("memory.arena"))
    budget = report.resources.get("memory.budget")
    if unit.id in rollout.members and isinstance(used, float) and isinstance(budget, float):
        found.append(told.Memory(unit.id, int(used), int(budget)))
    event = report.event
    if event is not None and event.code is Code.ENGINE_CRASH and event.model == rollout.model:
        digest = event.manifest_digest or b""
        found.append(told.Crashed(unit.id, unit.hardware_class, digest))
    return found


def figures(one: Performance) -> Figures:
    """One report in the rollout core's terms."""
    return Figures(
        one.inferences,
        one.errors,
        one.latency,
        None if one.energy_j is None else one.energy_j * UJ_PER_J,
        one.energy_source,
    )


def tick(org: Organization, now_s: float) -> None:
    """Let time pass in every rollout that can still touch a device."""
    for rollout in live_ones(org):
        tell(org, rollout.rollout_id, told.Tick(*_control_group(org, rollout, now_s)), now_s)


def _control_group(org: Organization, rollout: Rollout, now_s: float) -> tuple[int, int]:
    """(units, silent ones) that do not serve the rollout's bundle, at most CONTROL_S old.

    Counting them costs what the fleet is large, so it waits until somebody may be silent.
    """
    progress = rollout.progress
    counted_s = org.control_counted_s.get(rollout.rollout_id, -CONTROL_S)
    is_old = not 0 <= now_s - counted_s < CONTROL_S
    if rollout.state not in OPEN or not is_old or not may_be_silent(rollout, now_s, CONTROL_S):
        return progress.control_units, progress.control_silent
    org.control_counted_s[rollout.rollout_id] = now_s
    silent_s = now_s - rollout.plan.silent_after_s
    return devices.control_group(org.db, sorted(rollout.terms), rollout.digest, silent_s)


def link_changed(org: Organization, is_up: bool, now_s: float) -> None:
    for rollout in live_ones(org):
        tell(org, rollout.rollout_id, told.LinkChanged(is_up), now_s)


def clock_set(org: Organization, by_s: float) -> None:
    """The wall clock was set by that much: nobody is silent for it, and nothing waits longer."""
    for rollout in live_ones(org):
        clock_was_set(rollout, by_s)
        org.dirty.add(rollout.rollout_id)


def process_started(org: Organization) -> None:
    """The link of the former process ended with it: when it kept its rollouts last, every second
    or so. What passed since then is nobody's silence."""
    for row in kept.open_ones(org.db) + kept.winding_down(org.db):
        tell(org, row.id, told.LinkChanged(False), row.updated_s)


def pause_all(org: Organization, who: str, reason: str, now_s: float) -> None:
    """An emergency: everything that runs, or would go on by itself, is paused."""
    for rollout in open_ones(org):
        is_held = rollout.state is State.PAUSED and rollout.state_reason.startswith(HELD)
        if rollout.state is State.RUNNING or is_held:
            tell(org, rollout.rollout_id, told.Pause(who, reason), now_s)


def preempt(
    org: Organization,
    unit_id: str,
    model: str | None,
    why: str,
    now_s: float,
    bad_digest: bytes | None = None,
) -> None:
    """Somebody of higher rank takes a unit (for one model), or isolates it (`model` None).

    Where it is because `bad_digest` failed there, the rollout of that bundle counts a failure.
    """
    is_isolated = model is None
    for rollout in live_ones(org):
        member = rollout.members.get(unit_id)
        if member is None or model not in (None, rollout.model):
            continue
        # What an isolated unit was given stays, so one that winds down takes it back all the same.
        if rollout.state in OPEN or not is_isolated or member.way_back is Return.SENT:
            is_failure = rollout.digest == bad_digest
            event = told.PassedOver(unit_id, why, is_failure, is_isolated, not is_isolated)
            tell(org, rollout.rollout_id, event, now_s)


def gave_back(org: Organization, unit_id: str, digest: bytes, why: str, now_s: float) -> None:
    """A unit went back by itself from a bundle that it had confirmed: its rollout counts that."""
    for rollout in open_ones(org):
        member = rollout.members.get(unit_id) if rollout.digest == digest else None
        if member is None or member.phase is not MemberPhase.CONFIRMED:
            continue
        if member.way_back is Return.NONE:
            tell(org, rollout.rollout_id, told.PassedOver(unit_id, why, is_failure=True), now_s)
