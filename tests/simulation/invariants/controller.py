"""What must hold after an event of the controller. A new one is a function of (world) in
CONTROLLER, or of (world, rollout) in ROLLOUT: those are asked where the rollout has changed."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wherry_controller.core.audit_chain import AuditRow, row_hash
from wherry_controller.core.plans.stages import SERVING, Action
from wherry_controller.core.rollouts import Rollout
from wherry_controller.core.rollouts.members import FAILED, IN_FLIGHT, MemberPhase, Return
from wherry_controller.core.rollouts.slots import has_switch
from wherry_controller.core.rollouts.state import State
from wherry_controller.core.subset import count_of
from wherry_protocol.codec import decode
from wherry_protocol.messages.desired import Assignment, Mode

from tests.simulation.invariants import arms, emergencies
from tests.simulation.invariants.broken import broken

if TYPE_CHECKING:
    from tests.simulation.world import World

LINK_SLACK_S = 5.0


def check_controller(world: "World") -> None:
    """After an event of the controller; nothing can have changed where its store has not."""
    if world.controller.changes == world.truth.looked_at:
        return
    world.truth.looked_at = world.controller.changes
    sql = "SELECT connection, bundle_digest FROM assignments WHERE assigned_s >= ?"  # just now
    found = world.controller.db.execute(sql, (world.controller.now_s,)).fetchall()
    world.truth.given.update(found)
    if not world.controller.is_running:
        return
    for check in CONTROLLER:
        check(world)
    for rollout in list(world.controller.org.rollouts.values()):
        mark = _fingerprint(rollout)
        if world.truth.marks.get(rollout.rollout_id) != mark:
            for look in ROLLOUT:
                look(world, rollout)
            world.truth.marks[rollout.rollout_id] = mark


def _fingerprint(rollout: Rollout) -> tuple[Any, ...]:
    progress = rollout.progress
    counts = tuple(rollout.counts[phase] for phase in MemberPhase)
    return (
        rollout.state,
        progress.stage_index,
        progress.opened_count,
        counts,
        progress.returns_sent,
        len(rollout.pools.pools),
        len(rollout.panel.experiment.watched),
    )


def _only_opened_members_are_touched(world: "World", rollout: Rollout) -> None:
    """Invariant 5: whom the store has assigned it to is among the first members, as many as the
    rollout has opened, and those are no more than its stage allows."""
    opened_count = rollout.progress.opened_count
    opened = set(rollout.order[:opened_count])
    sql = "SELECT connection || '/' || unit FROM assignments WHERE rollout = ?"
    for (unit,) in world.controller.db.execute(sql, (rollout.rollout_id,)).fetchall():
        if unit not in opened:
            broken(f"{rollout.rollout_id} touches {unit}, which no stage has opened")
    stage = rollout.plan.stages[rollout.progress.stage_index]
    if opened_count > count_of(stage.share_bp, len(rollout.order)):
        broken(f"{rollout.rollout_id} has opened {opened_count} members in a stage of "
               f"{stage.share_bp / 100:g} %")  # fmt: skip


def _nothing_opens_by_itself_that_a_hand_opens(world: "World", rollout: Rollout) -> None:
    """A switch, or the next step of an experiment, is somebody's word."""
    index = rollout.progress.stage_index
    opened = rollout.plan.stages[: index + (rollout.progress.stage_opened_s is not None)]
    is_by_hand = any(stage.is_manual for stage in opened)
    sql = "SELECT document FROM assignments WHERE rollout = ?"
    rows = world.controller.db.execute(sql, (rollout.rollout_id,)).fetchall()
    serves = any(
        a.mode is Mode.ACTIVE and a.manifest_digest == rollout.digest
        for a in (decode(Assignment, document) for (document,) in rows)
    )
    if serves and not any(stage.action in SERVING for stage in rollout.plan.stages):
        broken(f"{rollout.rollout_id} lets serve what was to be compared")
    if has_switch(rollout) and serves:
        is_by_hand = True
    if is_by_hand and rollout.rollout_id not in world.truth.opened_by_hand:
        broken(f"{rollout.rollout_id} went on, and nobody had said so")


def _nothing_is_unloaded_before_the_bake_has_ended(world: "World", rollout: Rollout) -> None:
    if rollout.state not in (State.RUNNING, State.PAUSED):
        return
    if rollout.plan.stages[rollout.progress.stage_index].action is Action.DECOMMISSION:
        return
    sql = "SELECT connection || '/' || unit, digest FROM releases WHERE model = ?"
    for unit, digest in world.controller.db.execute(sql, (rollout.model,)).fetchall():
        member = rollout.members.get(unit)
        if member is not None and member.has_swapped and member.before == digest:
            broken(f"{rollout.rollout_id} lets {unit} unload what it may have to go back to")


def _nobody_serves_it_before_its_time(world: "World", rollout: Rollout) -> None:
    not_before_s = rollout.plan.schedule.not_before_s
    if not not_before_s or world.truth.is_clock_wrong:
        return
    sql = "SELECT min(assigned_s) FROM assignments WHERE rollout = ? AND bundle_digest = ?"
    row = world.controller.db.execute(sql, (rollout.rollout_id, rollout.digest)).fetchone()
    if row[0] is not None and row[0] < not_before_s:
        broken(f"{rollout.rollout_id} assigns {not_before_s - row[0]:.0f} s before its time")


def _nobody_keeps_the_candidate_of_an_aborted_rollout(world: "World", rollout: Rollout) -> None:
    if rollout.state is not State.ABORTED:
        return
    sql = "SELECT connection || '/' || unit, document FROM assignments WHERE rollout = ?"
    for unit, document in world.controller.db.execute(sql, (rollout.rollout_id,)).fetchall():
        is_candidate = decode(Assignment, document).mode is not Mode.ACTIVE
        member = rollout.members[unit]
        if is_candidate and member.phase not in FAILED and member.way_back is Return.NONE:
            broken(f"{rollout.rollout_id} is aborted and {unit} keeps its candidate")


def _confirmed_members_have_confirmed(world: "World", rollout: Rollout) -> None:
    """Success is what a device proves; silence is not."""
    if not rollout.counts[MemberPhase.CONFIRMED]:
        return
    for unit, member in rollout.members.items():
        if member.phase is MemberPhase.CONFIRMED:
            device = world.devices[unit.partition("/")[0]]
            if rollout.digest not in device.log.confirmed:
                broken(f"{rollout.rollout_id} counts {unit} as confirmed, and it is not")


def _gates_have_their_samples(world: "World", rollout: Rollout) -> None:
    """Invariant 6: a gated stage is left on enough figures, and good ones; the last one too."""
    truth, index = world.truth, rollout.progress.stage_index
    if rollout.state is State.SUCCEEDED:
        index = len(rollout.plan.stages)
    before = truth.stages.get(rollout.rollout_id, 0)
    truth.stages[rollout.rollout_id] = index
    is_hurried = rollout.rollout_id in truth.advanced
    is_left = before < index and rollout.plan.stages[before].is_gated
    if not is_left or is_hurried:
        return
    seen, gate = truth.inferences[rollout.digest], rollout.plan.gate
    if not rollout.touched:
        return
    needed = gate.requests_min
    if rollout.plan.stages[before].action is Action.SHADOW:
        seen, needed = truth.compared[rollout.digest], gate.shadow_requests_min
    if seen < needed:
        broken(f"{rollout.rollout_id} left stage {before + 1} after {seen} inferences, "
               f"{needed} are needed")  # fmt: skip
    behaviour = world.made[rollout.digest].behaviour
    if behaviour.bad_share == 1.0 and behaviour.error_rate > 3 * gate.error_rate_max:
        broken(f"{rollout.rollout_id} left stage {before + 1} with {behaviour.error_rate:.0%} "
               "errors")  # fmt: skip


def _nobody_is_silent_while_we_are_deaf(world: "World", rollout: Rollout) -> None:
    """A deadline runs only while the controller's own link is up."""
    offered, up_s = world.truth.offered, world.controller.link_up_s
    for unit, member in rollout.members.items():
        key = (rollout.rollout_id, unit)
        if member.phase in IN_FLIGHT:
            offered.setdefault(key, up_s)
        elif member.phase is MemberPhase.SILENT and key in offered:
            waited_s = up_s - offered.pop(key)
            if waited_s < rollout.plan.silent_after_s - LINK_SLACK_S and _is_clock_right(world):
                broken(f"{rollout.rollout_id} calls {unit} silent after {waited_s:.0f} s of link")


def _is_clock_right(world: "World") -> bool:
    return not world.truth.is_clock_wrong and not world.controller.restored_count


def _state_changes_are_audited(world: "World", rollout: Rollout) -> None:
    """Invariant 7."""
    truth, state, name = world.truth, rollout.state.value, rollout.rollout_id
    before = truth.rollout_states.get(name)
    truth.rollout_states[name] = state
    if before == state:
        return
    sql = "SELECT max(id) FROM audit WHERE subject = ?"
    newest = world.controller.db.execute(sql, (name,)).fetchone()[0] or 0
    if newest <= truth.audited_changes.get(name, 0):
        broken(f"{name}: {before or 'nothing'} became {state}, and the audit log says nothing")
    truth.audited_changes[name] = newest


def _the_audit_chain_holds(world: "World") -> None:
    """Invariant 7."""
    truth, db = world.truth, world.controller.db
    if truth.audit_epoch != world.controller.restored_count:
        truth.audit_epoch, truth.audited = world.controller.restored_count, 0
        truth.audit_hash = bytes(32)
        truth.audited_changes.clear()
        truth.rollout_states.clear()
        truth.stages.clear()
        truth.slots.clear()
        truth.arms.clear()
        truth.confirmed_s.clear()
    sql = "SELECT * FROM audit WHERE id > ? ORDER BY id"
    for values in db.execute(sql, (truth.audited,)).fetchall():
        row = AuditRow(*values)
        is_next = row.id == truth.audited + 1 and row.previous_hash == truth.audit_hash
        if not is_next or row_hash(row) != row.hash:
            broken(f"audit row {row.id} does not follow row {truth.audited}")
        if not row.who or not row.action:
            broken(f"audit row {row.id} does not say who did what")
        truth.audited, truth.audit_hash = row.id, row.hash


CONTROLLER: list[Callable[["World"], None]] = [
    _the_audit_chain_holds,
    emergencies.nothing_runs_under_a_stop,
    emergencies.what_somebody_needs_is_kept,
    emergencies.nothing_bad_is_put_back,
]
ROLLOUT: list[Callable[["World", Rollout], None]] = [
    _only_opened_members_are_touched,
    _nothing_opens_by_itself_that_a_hand_opens,
    _nothing_is_unloaded_before_the_bake_has_ended,
    _nobody_serves_it_before_its_time,
    _nobody_keeps_the_candidate_of_an_aborted_rollout,
    _confirmed_members_have_confirmed,
    _gates_have_their_samples,
    _nobody_is_silent_while_we_are_deaf,
    _state_changes_are_audited,
    arms.nobody_changes_arms,
    arms.the_control_group_is_not_on_the_new_version,
    emergencies.a_failed_bundle_is_not_offered_again,
    emergencies.a_revert_forgets_nobody,
]
