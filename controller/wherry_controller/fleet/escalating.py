"""What is too grave to wait for a person: it is stopped or isolated first, and told as critical.

Rules:
1. A device that a finished revert could not bring back is `rollback-failed`. Where it is heard of
   and still does not serve what it shall, it is isolated; where it is away, it is once it has been
   back for `GRACE_S` in vain. Only serving what it shall ends the state; a release ends the
   isolation, for `GRACE_S` at least.
2. Two devices or more, and 5 % or more of what a rollout has touched, that fell silent within
   `SILENCE_WINDOW_S` while our own link was up, halt every rollout of that model that goes on.
   Going on is an operator's decision, and only what falls silent after it halts again.
3. A suite that fails on a device of a rollout halts the rollout.
4. A device whose active slot is not what was hashed is `corrupted` and isolated; a damaged
   database halts every rollout.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from wherry_protocol.replacing import replace

from wherry_controller.core.notify import Cause
from wherry_controller.core.rollouts import Rollout, State
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.fleet import configuring, rollouts
from wherry_controller.fleet.organization import SYSTEM, Organization
from wherry_controller.store import alerts, assignments, devices
from wherry_controller.store import rollouts as notes
from wherry_controller.store.devices import CORRUPTED, ROLLBACK_FAILED, Unit, UnitModel
from wherry_controller.store.rollouts import Notice

GRACE_S: Final = 300.0
SILENCE_WINDOW_S: Final = 600.0
SILENT_MIN: Final = 2
SILENT_SHARE: Final = 0.05
HALTED: Final = "unresponsive"
UNTOUCHED: Final = frozenset((MemberPhase.PENDING, MemberPhase.SKIPPED))
NAMES_MAX: Final = 10


def tick(org: Organization, now_s: float) -> None:
    """Look after what is in trouble, and for silence that spreads."""
    for unit in devices.in_trouble(org.db):
        if unit.trouble == ROLLBACK_FAILED:
            _look_after(org, unit, now_s)
    _halt_where_many_fell_silent(org, now_s)


def rollout_finished(org: Organization, rollout: str, report: dict[str, Any], now_s: float) -> None:
    """Mark what a revert could not bring back (rule 1)."""
    lost: dict[str, str] = report.get("not_back") or {}
    for unit_id, why in lost.items():
        unit = devices.find_unit(org.db, *devices.split_id(unit_id))
        if unit is not None:
            _mark(org, unit, ROLLBACK_FAILED, f"{rollout}: {why}", now_s)
            _look_after(org, devices.unit(org.db, unit.connection, unit.unit), now_s)
    if lost:
        names = ", ".join(sorted(lost)[:NAMES_MAX])
        text = f"rollback failed: {len(lost)} devices do not serve the former version: {names}"
        _tell(org, "rollback failed", Cause.ROLLBACK, text, now_s, rollout=rollout)


def _mark(org: Organization, unit: Unit, trouble: str, why: str, now_s: float) -> None:
    devices.put_unit(org.db, replace(unit, trouble=trouble))
    org.record(now_s, SYSTEM, f"device.{trouble}", unit.id, why)


def observe(org: Organization, changed: Iterable[UnitModel], now_s: float) -> None:
    """Units reported what they serve."""
    for connection, name in {(row.connection, row.unit) for row in changed}:
        unit = devices.unit(org.db, connection, name)
        if unit.trouble == ROLLBACK_FAILED:
            _has_recovered(org, unit, now_s)


def _has_recovered(org: Organization, unit: Unit, now_s: float) -> bool:
    """End the state of a unit that serves what it shall."""
    if not _serves_what_it_shall(org, unit):
        return False
    devices.put_unit(org.db, replace(unit, trouble=""))
    org.record(now_s, SYSTEM, "device.recovered", unit.id, "it serves what it shall")
    return True


def _look_after(org: Organization, unit: Unit, now_s: float) -> None:
    """End the state of who serves what it shall; isolate who is here and does not."""
    if _has_recovered(org, unit, now_s):
        return
    connection = devices.connection(org.db, unit.connection)
    since_s = max(connection.presence_s or 0.0, unit.released_s)
    is_here = bool(connection.is_online) and now_s - since_s >= GRACE_S
    if is_here and not unit.is_isolated:
        _isolate(org, unit, "its rollback failed", now_s)


def _serves_what_it_shall(org: Organization, unit: Unit) -> bool:
    wanted = {a.model: a.bundle_digest
              for a in assignments.of_unit(org.db, unit.connection, unit.unit)}  # fmt: skip
    models = devices.models_of(org.db, unit.connection, unit.unit)
    served = {row.model: row.active_digest for row in models}
    return all(served.get(model) == digest for model, digest in wanted.items())


def _isolate(org: Organization, unit: Unit, why: str, now_s: float) -> None:
    configuring.isolate(org, unit.id, True, SYSTEM, why, now_s)
    rollouts.preempt(org, unit.id, None, f"isolated: {why}", now_s)


def corrupted(org: Organization, unit_id: str, model: str, text: str, now_s: float) -> None:
    """A device says that what it serves is not what was hashed (rule 4)."""
    unit = devices.unit(org.db, *devices.split_id(unit_id))
    if unit.trouble == CORRUPTED:
        return
    _mark(org, unit, CORRUPTED, text, now_s)
    if not unit.is_isolated:
        _isolate(org, devices.unit(org.db, unit.connection, unit.unit), text, now_s)
    told_text = f"{unit_id} {model}: {text}; the device is isolated"
    _tell(org, f"corrupted:{unit_id}", Cause.CORRUPTION, told_text, now_s, unit=unit_id,
          model=model)  # fmt: skip


def database_damaged(org: Organization, finding: str, now_s: float) -> None:
    """The store contradicts itself: nothing spreads before somebody has looked (rule 4)."""
    standing = alerts.find_unresolved(org.db, "", "database damaged")
    if standing is not None:
        return
    rollouts.pause_all(org, SYSTEM, f"the database is damaged: {finding}", now_s)
    text = f"the database is damaged ({finding}): restore a backup; every rollout is paused"
    org.record(now_s, SYSTEM, "database.damaged", org.name, finding)
    _tell(org, "database damaged", Cause.CORRUPTION, text, now_s)


def suite_failed(
    org: Organization, unit_id: str, model: str, suite: str, text: str, now_s: float
) -> None:
    """A suite failed on a unit: rollouts that touched it do not spread further (rule 3)."""
    why = f"suite {suite} failed on {unit_id}: {text}"
    topic = f"suite {suite}"
    for rollout in rollouts.open_ones(org):
        member = rollout.members.get(unit_id)
        if rollout.model != model or member is None or member.phase in UNTOUCHED:
            continue
        is_news = rollout.state is State.RUNNING
        if is_news:
            rollouts.tell(org, rollout.rollout_id, told.Pause(SYSTEM, why), now_s)
        if is_news or alerts.find_unresolved(org.db, rollout.rollout_id, topic) is None:
            _tell(org, topic, Cause.SUITE, why, now_s, rollout=rollout.rollout_id, unit=unit_id)


def _halt_where_many_fell_silent(org: Organization, now_s: float) -> None:
    silent = {
        alert.unit: alert.first_s
        for alert in alerts.standing_of(org.db, Cause.SILENCE.value, now_s - SILENCE_WINDOW_S)
    }
    if len(silent) < SILENT_MIN:
        return
    for rollout in rollouts.open_ones(org):
        members = rollout.members
        if rollout.state in (State.RUNNING, State.PAUSED):
            hit = {unit: at_s for unit, at_s in silent.items()
                   if unit in members and members[unit].phase not in UNTOUCHED}  # fmt: skip
            _halt(org, rollout, hit, now_s)


def _halt(org: Organization, source: Rollout, hit: Mapping[str, float], now_s: float) -> None:
    """Halt the model's rollouts for devices of `source` that fell silent at those times."""
    halted: list[str] = []
    named: set[str] = set()
    for other in rollouts.open_ones(org):
        accepted_s = max(source.progress.accepted_s, other.progress.accepted_s)
        new = {unit for unit, at_s in hit.items() if at_s > accepted_s}
        is_many = len(new) >= SILENT_MIN and len(new) >= SILENT_SHARE * source.touched
        if is_many and other.model == source.model and _goes_on(other):
            why = f"{HALTED}: {len(new)} of {source.touched} devices fell silent"
            pause = told.Pause(SYSTEM, f"{why} in {source.rollout_id}")
            rollouts.tell(org, other.rollout_id, pause, now_s)
            halted.append(other.rollout_id)
            named |= new
    if halted:
        why = f"{HALTED}: {len(named)} of {source.touched} devices fell silent"
        text = f"{why} in {source.rollout_id} ({', '.join(sorted(named)[:NAMES_MAX])})"
        _tell(org, HALTED, Cause.SILENCE, f"{text}; halted: {', '.join(halted)}", now_s,
              rollout=source.rollout_id)  # fmt: skip


def _goes_on(rollout: Rollout) -> bool:
    """Does it run, or would it by itself when its devices recover?"""
    is_held = rollout.state is State.PAUSED and rollout.state_reason.startswith(rollouts.HELD)
    return rollout.state is State.RUNNING or is_held


def _tell(
    org: Organization,
    topic: str,
    cause: Cause,
    text: str,
    now_s: float,
    *,
    rollout: str = "",
    unit: str = "",
    model: str = "",
) -> None:
    notice = Notice(None, now_s, "critical", topic, rollout, text, cause.value, unit, model)
    notes.put_notice(org.db, notice)
