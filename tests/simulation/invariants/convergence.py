"""What must come to hold once everything is calm. A new one adds a sentence to `unsettled`, or is a
check in `check_end`."""

from typing import TYPE_CHECKING

from wherry_agent.core.model import ModelState
from wherry_controller.core.rollouts import Rollout
from wherry_controller.core.rollouts.state import State
from wherry_controller.fleet import rollouts
from wherry_protocol.messages.reported import Outcome

from tests.simulation.engine import UNIT
from tests.simulation.invariants.broken import broken
from tests.simulation.models import MODEL

if TYPE_CHECKING:
    from tests.simulation.device import SimDevice
    from tests.simulation.world import World


def unsettled(world: "World") -> list[str]:
    """What has not converged yet; nothing where all is well."""
    if not world.controller.is_running or not world.controller.is_link_up:
        return ["the controller is not there"]
    found = [
        f"rollout {rollout.rollout_id} is {rollout.state.value}: {rollout.state_reason}"
        for rollout in _open_rollouts(world)
        if rollout.state in (State.RUNNING, State.REVERTING, State.APPROVED)
    ]
    for device in world.devices.values():
        found += _unsettled_device(world, device)
    return found + _who_joined_and_got_nothing(world)


def _who_joined_and_got_nothing(world: "World") -> list[str]:
    """Who joined a dynamic group serves what it runs, was given something since, or is named."""
    db, found = world.controller.db, []
    sql = (
        "SELECT json_extract(details, '$.unit'), max(at_s) FROM audit a "
        "WHERE action = 'group.join' AND EXISTS "
        "(SELECT 1 FROM group_runs g JOIN rollouts r ON r.id = g.rollout "
        "WHERE g.name = a.subject AND g.since_s <= a.at_s AND r.state = 'succeeded') "
        "GROUP BY 1"
    )
    for unit, joined_s in db.execute(sql).fetchall():
        served = (
            "SELECT 1 FROM unit_models m JOIN group_runs g ON g.model = m.model "
            "JOIN rollouts r ON r.id = g.rollout AND r.bundle_digest = m.active_digest "
            "WHERE m.connection || '/' || m.unit = ?"
        )
        given = "SELECT 1 FROM assignments WHERE connection || '/' || unit = ? AND assigned_s >= ?"
        named = "SELECT 1 FROM notices WHERE topic = ? AND at_s >= ?"
        if not (
            db.execute(served, (unit,)).fetchone()
            or db.execute(given, (unit, joined_s)).fetchone()
            or db.execute(named, (f"join {unit}", joined_s)).fetchone()
        ):
            found.append(f"{unit} joined a group and got nothing")
    return found


def _open_rollouts(world: "World") -> list[Rollout]:
    return rollouts.open_ones(world.controller.org)


def _unsettled_device(world: "World", device: "SimDevice") -> list[str]:
    name = device.name
    if not device.is_running or not device.is_connected or device.runtime is None:
        return [f"{name} is away"]
    found = []
    unit = device.agent.units[UNIT]
    state = unit.models.get(MODEL)
    row = _assignment(world, name)
    if state is not None and state.phase is not state.phase.IDLE:
        found.append(f"{name} is {state.phase.name}")
    if row is not None:
        wanted, digest = row
        mine = None if state is None else state.record.assignment_id
        waits = unit.waiting.get(MODEL)
        if mine != wanted and not (waits and waits.code.name == "PENALTY"):
            found.append(
                f"{name} has not followed its assignment"
                + (f": waits for {waits.reason}" if waits else "")
            )
        elif mine == wanted and state is not None and state.record.outcome is Outcome.NONE:
            found.append(f"{name} has not answered its assignment")
        elif _says_confirmed(state) and device.loops.serving.get(MODEL) != digest:
            found.append(f"{name} says confirmed and serves something else")
        found += _unheard(world, device)
    sql = "SELECT is_online FROM connections WHERE name = ?"
    is_believed = bool(world.controller.db.execute(sql, (name,)).fetchone()[0])
    if not is_believed and not device.log.has_reused_boot:
        found.append(f"{name} is here, and the controller believes it is away")
    if device.agent.reports.segments:
        found.append(f"{name} still holds {len(device.agent.reports.segments)} segments")
    return found


def _says_confirmed(state: ModelState | None) -> bool:
    return state is not None and state.record.outcome is Outcome.CONFIRMED


def _unheard(world: "World", device: "SimDevice") -> list[str]:
    """Does the controller know what the device knows?"""
    sql = "SELECT active_digest FROM unit_models WHERE connection = ? AND model = ?"
    known = world.controller.db.execute(sql, (device.name, MODEL)).fetchone()
    if known is None:
        return [f"{device.name}: the controller knows nothing of it"]
    if known[0] != device.loops.serving.get(MODEL):
        return [f"{device.name}: the controller believes another bundle serves"]
    return []


def _assignment(world: "World", name: str) -> tuple[bytes, bytes] | None:
    sql = "SELECT assignment_id, bundle_digest FROM assignments WHERE connection = ? AND model = ?"
    found: tuple[bytes, bytes] | None = world.controller.db.execute(sql, (name, MODEL)).fetchone()
    return found


def check_end(world: "World") -> None:
    """What must hold once everything is calm."""
    sql = "SELECT count(*), count(DISTINCT payload) FROM reports"
    total, distinct = world.controller.db.execute(sql).fetchone()
    if total != distinct:
        broken(f"{total - distinct} reports are in the store twice")
