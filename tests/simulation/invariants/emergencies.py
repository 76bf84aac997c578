"""What must hold of stops, ways back, the standing guard and retention."""

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wherry_controller.core.rollouts import Rollout, restore
from wherry_controller.core.rollouts.members import MemberPhase, Return
from wherry_controller.core.rollouts.state import State
from wherry_controller.fleet import rollouts
from wherry_controller.store import meta
from wherry_controller.store import rollouts as kept

from tests.simulation.invariants.broken import broken

if TYPE_CHECKING:
    from tests.simulation.device import SimDevice
    from tests.simulation.world import World

UNTOUCHED = (MemberPhase.PENDING, MemberPhase.SKIPPED)


def nothing_runs_under_a_stop(world: "World") -> None:
    """A stop pauses what runs, and nothing goes on before it is released."""
    if meta.get(world.controller.db, "stop.is_stopped") != "1":
        return
    for rollout in rollouts.open_ones(world.controller.org):
        if rollout.state is State.RUNNING:
            broken(f"{rollout.rollout_id} runs while the fleet is stopped")


def what_somebody_needs_is_kept(world: "World") -> None:
    """Retention takes away nothing that serves, is a way back or is in an open rollout."""
    db = world.controller.db
    digests = {digest for (digest,) in db.execute("SELECT digest FROM bundles").fetchall()}
    before, world.truth.bundle_count = world.truth.bundle_count, len(digests)
    if len(digests) >= before or world.controller.restored_count:
        return
    for device in world.devices.values():
        for digest, what in _needed_by(device).items():
            if digest not in digests and digest in _known(world, device):
                broken(f"retention took away what {device.name} has as {what}")
    for rollout in rollouts.open_ones(world.controller.org):
        needed = {rollout.digest} | {m.before for m in rollout.members.values() if m.before}
        needed |= {first for member in rollout.members.values() for first in member.first}
        if needed - digests:
            broken(f"retention took away what the open rollout {rollout.rollout_id} needs")
    for rollout_id, unit, before in _ways_back(world):
        if before not in digests:
            broken(f"retention took away where a revert of {rollout_id} takes {unit}")


def _ways_back(world: "World") -> Iterator[tuple[str, str, bytes]]:
    """(rollout, unit, digest) of every unit whose assignment is still of a rollout."""
    db = world.controller.db
    sql = "SELECT rollout, connection || '/' || unit FROM assignments WHERE rollout != ''"
    units: defaultdict[str, list[str]] = defaultdict(list)
    for rollout_id, unit in db.execute(sql).fetchall():
        units[rollout_id].append(unit)
    for rollout_id, names in units.items():
        members = restore(kept.parts(db, rollout_id)).members
        for unit in names:
            before = members[unit].before
            if before is not None:
                yield rollout_id, unit, before


def _needed_by(device: "SimDevice") -> dict[bytes, str]:
    found = {}
    for record in device.record_models().values():
        for slot, what in ((record.previous, "its way back"), (record.active, "serving")):
            if slot is not None:
                found[slot.manifest_digest] = what
    return found


def _known(world: "World", device: "SimDevice") -> set[bytes]:
    """What the device has told that it holds: more the controller cannot know."""
    sql = "SELECT active_digest, previous_digest FROM unit_models WHERE connection = ?"
    rows = world.controller.db.execute(sql, (device.name,)).fetchall()
    return {digest for row in rows for digest in row if digest is not None}


def nothing_bad_is_put_back(world: "World") -> None:
    """The standing guard chooses no version that has failed on the unit before."""
    if world.truth.is_clock_wrong:
        return
    sql = (
        "SELECT a.connection FROM assignments a JOIN failures f ON f.connection = a.connection "
        "AND f.unit = a.unit AND f.bundle_digest = a.bundle_digest "
        "WHERE a.owner = 'guard' AND f.failed_s < a.assigned_s"
    )
    for (name,) in world.controller.db.execute(sql).fetchall():
        broken(f"the guard puts back on {name} what has failed there")


def a_failed_bundle_is_not_offered_again(world: "World", rollout: Rollout) -> None:
    """What has failed on a unit comes again only as somebody's deliberate attempt."""
    if world.truth.is_clock_wrong:
        return
    sql = (
        "SELECT a.connection FROM assignments a JOIN failures f ON f.connection = a.connection "
        "AND f.unit = a.unit AND f.bundle_digest = a.bundle_digest "
        "WHERE a.rollout = ? AND a.attempt = 0 AND f.failed_s < a.assigned_s"
    )
    for (name,) in world.controller.db.execute(sql, (rollout.rollout_id,)).fetchall():
        broken(f"{rollout.rollout_id} offers {name} again what has failed there")


def a_revert_forgets_nobody(world: "World", rollout: Rollout) -> None:
    """Whoever was touched is sent back, is back, or is named: also who is away."""
    if rollout.state not in (State.REVERTING, State.REVERTED):
        return
    for unit in rollout.order[: rollout.progress.touched_index]:
        member = rollout.members[unit]
        if member.phase not in UNTOUCHED and member.way_back is Return.NONE:
            broken(f"{rollout.rollout_id} is {rollout.state.value} and has forgotten {unit}")
    if rollout.state is not State.REVERTED:
        return
    sql = (
        "SELECT connection || '/' || unit FROM assignments WHERE rollout = ? AND bundle_digest = ?"
    )
    rows = world.controller.db.execute(sql, (rollout.rollout_id, rollout.digest)).fetchall()
    for (unit,) in rows:
        member = rollout.members[unit]
        if member.way_back is not Return.LOST and member.before not in (None, rollout.digest):
            broken(f"{rollout.rollout_id} is reverted, and {unit} is still to run its version")
