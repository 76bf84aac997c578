"""What must hold after every event, whatever went wrong (DESIGN, "Invariants").

A new invariant is a function of (world, device) or (world) that calls `broken`, and its name in
one of the lists below. They are incremental: each looks only at what the last event can have
changed. What must hold in the end is in `convergence`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from wherry_agent.core.effects import Effect, LoadCandidate, Persist, Swap
from wherry_agent.core.model import ModelState
from wherry_agent.core.penalty import wait_s
from wherry_agent.core.record import AgentRecord, unit_record
from wherry_agent.core.reports import SEGMENT_BYTES_MAX
from wherry_controller.core.audit_chain import AuditRow, row_hash
from wherry_controller.core.rollouts import Rollout
from wherry_controller.core.rollouts.members import IN_FLIGHT, MemberPhase
from wherry_controller.core.rollouts.state import State
from wherry_controller.core.subset import count_of
from wherry_controller.store import performance as rows
from wherry_protocol.messages.reported import Outcome, Phase

from tests.simulation.engine import UNIT
from tests.simulation.models import BUDGET, MODEL
from tests.simulation.network import SECOND_US

if TYPE_CHECKING:
    from tests.simulation.device import SimDevice
    from tests.simulation.world import World

CHUNKS_MAX = 8
PENALTY_SLACK_S = 3.0
LINK_SLACK_S = 5.0
ERROR_RATE_MAX = 0.1  # of the trials in `operator`


def broken(what: str) -> NoReturn:
    """The simulation ends here."""
    from tests.simulation.world import Violation

    raise Violation(what)


# --- at an effect and at a boot


def check_effect(world: "World", device: "SimDevice", effect: Effect) -> None:
    """Before an effect is done."""
    if isinstance(effect, Swap):
        _only_verified_bundles_serve(world, device, effect)
        _the_record_knows_what_will_serve(device, effect)
    elif isinstance(effect, LoadCandidate) and effect.assignment is not None:
        _a_failed_bundle_waits(world, device, effect)
        _nothing_is_installed_under_a_stop(device)
    elif isinstance(effect, Persist):
        _revisions_only_rise(device, effect.record)


def _only_verified_bundles_serve(world: "World", device: "SimDevice", effect: Swap) -> None:
    """Invariant 2."""
    digest = effect.manifest_digest
    if digest is None:
        return
    if digest not in world.made:
        broken(f"{device.name} serves {digest.hex()[:8]}, which nobody signed")
    behaviour = world.made[digest].on(device.rank)
    is_fit = behaviour.latency_us <= BUDGET.latency_us_p95
    is_fit &= behaviour.memory_bytes <= BUDGET.memory_bytes
    if behaviour.is_lying or not behaviour.is_loadable or not is_fit:
        broken(f"{device.name} serves a bundle that must fail its self-test: {behaviour.name}")


def _the_record_knows_what_will_serve(device: "SimDevice", effect: Swap) -> None:
    """Invariant 1: the pointer never runs ahead of the durable record."""
    if effect.manifest_digest is None:
        return
    record = device.record_models().get(effect.model)
    slots = () if record is None else (record.active, record.previous)
    if effect.manifest_digest not in [slot.manifest_digest for slot in slots if slot]:
        broken(f"{device.name} swaps to {effect.manifest_digest.hex()[:8]}, and its record does "
               "not know it")  # fmt: skip


def _a_failed_bundle_waits(world: "World", device: "SimDevice", effect: LoadCandidate) -> None:
    failure = device.log.failures.get(effect.slot.manifest_digest)
    if failure is None or world.truth.is_clock_wrong:
        return
    count, at_us = failure
    waited_s = (world.now_us - at_us) / SECOND_US
    if waited_s < wait_s(count) - PENALTY_SLACK_S:
        broken(f"{device.name} tries a bundle again {waited_s:.0f} s after failure {count} of it, "
               f"{wait_s(count)} s must pass")  # fmt: skip


def _nothing_is_installed_under_a_stop(device: "SimDevice") -> None:
    if device.agent.is_stopped or device.agent.units[UNIT].memory.is_isolated:
        broken(f"{device.name} installs, and is stopped or isolated")


def _revisions_only_rise(device: "SimDevice", record: AgentRecord) -> None:
    """Invariant 3, and one revision never means two documents."""
    before = device.log.relied_on
    now = unit_record(record, UNIT)
    if before is None or len(before.roots) != len(record.roots):
        return
    then = unit_record(before, UNIT)
    if now.revision < then.revision:
        broken(f"{device.name}: revision {now.revision} after {then.revision}")
    if now.revision == then.revision and now.desired_digest != then.desired_digest:
        broken(f"{device.name}: two documents under revision {now.revision}")
    if record.time_floor_s < before.time_floor_s:
        broken(f"{device.name}: the time floor fell")


def check_boot(world: "World", device: "SimDevice", record: AgentRecord | None) -> None:  # noqa: ARG001
    """The record is one that later effects relied on, or one that was being written."""
    log = device.log
    if record != log.relied_on and record not in log.writing:
        broken(f"{device.name} boots with a record that is not the last durable one")


# --- devices


def check_device(world: "World", device: "SimDevice") -> None:
    """After an event in which this device did something; a message on its way changes nothing."""
    device.has_acted = False
    if device.is_running and device.runtime is not None:
        for check in DEVICE:
            check(world, device)


def _what_has_served_serves(world: "World", device: "SimDevice") -> None:  # noqa: ARG001
    """Invariant 1: once a bundle was confirmed, one serves, in every life."""
    if not device.log.confirmed or device.jobs or not device.is_settled:
        return
    digest = device.loops.serving.get(MODEL)
    if digest is None or digest not in device.loops.loaded:
        broken(f"{device.name} serves nothing, and a bundle was confirmed here")


def _the_record_says_what_serves(world: "World", device: "SimDevice") -> None:  # noqa: ARG001
    """Once nothing is under way any more, the pointer is where the record says."""
    if device.jobs or not device.is_settled or device.is_rolled_back:
        return
    phases = device.agent.units[UNIT].models
    for model, record in device.record_models().items():
        active = None if record.active is None else record.active.manifest_digest
        # In a trial whose way back could not be written the pointer is ahead, until it can.
        is_idle = model in phases and phases[model].phase is Phase.IDLE
        if is_idle and device.loops.serving.get(model) != active:
            broken(f"{device.name}: the record says that another bundle serves {model}")


def _trials_end(world: "World", device: "SimDevice") -> None:  # noqa: ARG001
    """Starts without confirmation are counted, and few."""
    for record in device.record_models().values():
        trial = record.trial
        if trial is not None and trial.start_count >= trial.limits.unconfirmed_starts_max:
            broken(f"{device.name}: {trial.start_count} starts without confirmation")


def _bad_bundles_are_not_confirmed(world: "World", device: "SimDevice") -> None:
    """Invariant 1: what fails in its trial does not stay."""
    if len(device.log.confirmed) == device.log.confirmed_count:
        return
    device.log.confirmed_count = len(device.log.confirmed)
    for digest in device.log.confirmed:
        behaviour = world.made[digest].on(device.rank)
        if behaviour.error_rate > ERROR_RATE_MAX:
            broken(f"{device.name} confirmed a bundle with {behaviour.error_rate:.0%} errors")


def _chunk_topics_are_few(world: "World", device: "SimDevice") -> None:
    """Invariant 9: at most eight chunk topics at a time, as the broker sees it."""
    session = world.broker.sessions.get(device.client_id)
    if session is None or device.name not in world.truth.subscribed:
        return
    world.truth.subscribed.discard(device.name)
    count = sum("/b/" in topic for topic in session.subscribed)
    if count > CHUNKS_MAX:
        broken(f"{device.name} has {count} chunk topics subscribed, {CHUNKS_MAX} may be")


def _reports_are_bounded(world: "World", device: "SimDevice") -> None:  # noqa: ARG001
    """Invariant 9."""
    reports = device.agent.reports
    if reports is device.log.reports:
        return
    if reports.spool_bytes > reports.spool_bytes_max:
        broken(f"{device.name}: {reports.spool_bytes} B in the spool")
    if reports.held_bytes > 2 * SEGMENT_BYTES_MAX:
        broken(f"{device.name}: {reports.held_bytes} B of reports in memory")


def _released_reports_are_committed(world: "World", device: "SimDevice") -> None:
    """A report leaves the device only when the controller has committed it."""
    reports = device.agent.reports
    before, device.log.reports = device.log.reports, reports
    device.log.has_dropped |= reports.dropped_count > 0
    if reports is before or reports.dropped_count or world.controller.restored_count:
        return
    if before is not None and reports.boot_id == before.boot_id and reports.oldest == before.oldest:
        return
    if reports.oldest == 1:
        return
    found = rows.spool(world.controller.db, device.name, reports.boot_id)
    contiguous = 0 if found is None else found[0]
    if contiguous < reports.oldest - 1:
        broken(f"{device.name} let go of reports up to {reports.oldest - 1}, committed are "
               f"{contiguous}")  # fmt: skip


DEVICE: list[Callable[["World", "SimDevice"], None]] = [
    _what_has_served_serves,
    _the_record_says_what_serves,
    _trials_end,
    _bad_bundles_are_not_confirmed,
    _chunk_topics_are_few,
    _reports_are_bounded,
    _released_reports_are_committed,
]


# --- the controller


def check_controller(world: "World") -> None:
    """After an event of the controller; nothing can have changed where its store has not."""
    if not world.controller.is_running or world.controller.changes == world.truth.looked_at:
        return
    world.truth.looked_at = world.controller.changes
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
    )


def _only_opened_members_are_touched(world: "World", rollout: Rollout) -> None:
    """Invariant 5, by the store and not by the rollout's own word."""
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
    """Invariant 6: a gated stage is left on enough figures, and good ones."""
    truth, index = world.truth, rollout.progress.stage_index
    before = truth.stages.get(rollout.rollout_id, 0)
    truth.stages[rollout.rollout_id] = index
    is_hurried = rollout.rollout_id in truth.advanced
    if index == before or is_hurried or not rollout.plan.stages[before].is_gated:
        return
    seen, gate = truth.inferences[rollout.digest], rollout.plan.gate
    if not rollout.touched:
        return
    if seen < gate.requests_min:
        broken(f"{rollout.rollout_id} left stage {before + 1} after {seen} inferences, "
               f"{gate.requests_min} are needed")  # fmt: skip
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
    if before is not None and newest <= truth.audited_changes[name]:
        broken(f"{name}: {before} became {state}, and the audit log says nothing")
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
    sql = "SELECT * FROM audit WHERE id > ? ORDER BY id"
    for values in db.execute(sql, (truth.audited,)).fetchall():
        row = AuditRow(*values)
        is_next = row.id == truth.audited + 1 and row.previous_hash == truth.audit_hash
        if not is_next or row_hash(row) != row.hash:
            broken(f"audit row {row.id} does not follow row {truth.audited}")
        truth.audited, truth.audit_hash = row.id, row.hash


CONTROLLER: list[Callable[["World"], None]] = [_the_audit_chain_holds]
ROLLOUT: list[Callable[["World", Rollout], None]] = [
    _only_opened_members_are_touched,
    _confirmed_members_have_confirmed,
    _gates_have_their_samples,
    _nobody_is_silent_while_we_are_deaf,
    _state_changes_are_audited,
]


# --- the end


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
    return found


def _open_rollouts(world: "World") -> list[Rollout]:
    from wherry_controller.fleet import rollouts

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
        found += [] if device.log.has_reused_boot else _unheard(world, device)
    sql = "SELECT is_online FROM connections WHERE name = ?"
    is_believed = bool(world.controller.db.execute(sql, (name,)).fetchone()[0])
    if not is_believed and not device.log.has_reused_boot:
        found.append(f"{name} is here, and the controller believes it is away")
    if device.agent.reports.segments and not device.log.has_dropped:
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
