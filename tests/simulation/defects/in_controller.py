"""Mistakes that a controller could make."""

# ruff: noqa: ARG001, ARG005  (a wrong rule takes the parameters of the right one)

from dataclasses import replace
from typing import Any

from wherry_controller.core import spool
from wherry_controller.core.link_clock import LinkClock
from wherry_controller.core.rollouts import advancing, judging
from wherry_controller.core.rollouts.effects import Audit
from wherry_controller.core.rollouts.members import IN_FLIGHT, MEMBER_TRANSITIONS, Signal
from wherry_controller.core.rollouts.members import MemberPhase as Member
from wherry_controller.fleet import blobs, carrying, desires, observed, rollouts, trustees
from wherry_controller.fleet.reports import Batch
from wherry_controller.store import assignments, audit, devices, outbox

from tests.simulation.defects import Switch, defect


@defect("dead_controller")
def count_silence_as_success(switch: Switch) -> None:
    for phase in IN_FLIGHT:
        switch.row(MEMBER_TRANSITIONS, (phase, Signal.DEADLINE), Member.CONFIRMED)


@defect("canary")
def tell_a_neighbour_as_well(switch: Switch) -> None:
    """The store knows who is in a stage; another device's document says that it is, too."""
    right, of_unit = desires.issue, assignments.of_unit

    def issue(org: Any, unit: Any, now_s: float) -> Any:
        after = right(org, unit, now_s)
        given = of_unit(org.db, unit.connection, unit.unit)
        neighbour = next(one for one in devices.units(org.db) if one.id != unit.id)
        assignments.of_unit = lambda *_: given
        try:
            right(org, neighbour, now_s)
        finally:
            assignments.of_unit = of_unit
        return after

    switch.set(desires, "issue", issue)


@defect("stubborn")
def take_a_trial_for_success(switch: Switch) -> None:
    """A device that tries a version counts as one that has confirmed it."""
    for phase in IN_FLIGHT:
        switch.row(MEMBER_TRANSITIONS, (phase, Signal.TRIES), Member.CONFIRMED)


@defect("canary")
def judge_a_gate_before_its_samples(switch: Switch) -> None:
    right = judging.evaluate

    def evaluate(pools: Any, panel: Any, limits: Any, *rest: Any) -> Any:
        return right(pools, panel, replace(limits, requests_min=1), *rest)

    switch.set(judging, "evaluate", evaluate)


@defect("canary")
def pass_an_inconclusive_gate(switch: Switch) -> None:
    switch.set(advancing, "is_passed", lambda checks, require: True)


@defect("canary")
def open_every_stage_at_once(switch: Switch) -> None:
    right = advancing._open_stage

    def open_stage(rollout: Any, now_s: float) -> Any:
        effects = right(rollout, now_s)
        if effects:
            rollout.progress.opened_count = len(rollout.order)
        return effects

    switch.set(advancing, "_open_stage", open_stage)


@defect("canary")
def offer_to_members_of_later_stages(switch: Switch) -> None:
    """One member too many, each time."""
    right = advancing.offer

    def offer(rollout: Any, now_s: float) -> Any:
        opened = rollout.progress.opened_count
        rollout.progress.opened_count = min(len(rollout.order), opened + 1)
        effects = right(rollout, now_s)
        rollout.progress.opened_count = opened
        return effects

    switch.set(advancing, "offer", offer)


@defect("bad_weather")
def count_reports_twice(switch: Switch) -> None:
    """A report that comes again counts again."""
    right = spool.accept

    def accept(*given: Any, **named: Any) -> Any:
        position, verdict = right(*given, **named)
        return position, spool.Verdict.NEW if verdict is spool.Verdict.DUPLICATE else verdict

    switch.set(spool, "accept", accept)


@defect("bad_weather")
def acknowledge_beyond_a_gap(switch: Switch) -> None:
    """The highest report counts, and not the highest without a gap below it."""
    right = Batch._ack

    def ack(batch: Batch, connection: str, boot_id: bytes, position: Any) -> Any:
        highest = max([position.contiguous, *position.ahead])
        return right(batch, connection, boot_id, replace(position, contiguous=highest))

    switch.set(Batch, "_ack", ack)


@defect("deaf_controller")
def run_deadlines_while_deaf(switch: Switch) -> None:
    """Devices fall silent while the controller's own link is down."""

    def change(clock: LinkClock, is_up: bool, now_s: float) -> None:
        if clock.up_since_s is None:
            clock.up_since_s = now_s

    switch.set(LinkClock, "change", change)


@defect("canary")
def change_without_a_word(switch: Switch) -> None:
    """What a rollout does is not in the audit log."""
    right = carrying.carry_out

    def carry_out(org: Any, rollout: Any, effect: Any, now_s: float) -> Any:
        return None if isinstance(effect, Audit) else right(org, rollout, effect, now_s)

    switch.set(rollouts.carrying, "carry_out", carry_out)


@defect("canary")
def break_the_audit_chain(switch: Switch) -> None:
    right = audit.link
    switch.set(audit, "link", lambda row: right(replace(row, previous_hash=bytes(32))))


@defect("canary")
def keep_the_revision(switch: Switch) -> None:
    """A changed document goes out under its old number."""
    right = desires.replace

    def same(unit: Any, **changes: Any) -> Any:
        if unit.revision and "revision" in changes:
            changes["revision"] = unit.revision
        return right(unit, **changes)

    switch.set(desires, "replace", same)


@defect("old_backup")
def ignore_devices_that_are_ahead(switch: Switch) -> None:
    """After a restore no document is new enough for anybody."""
    switch.set(observed, "_needs_desired", lambda *_: False)


@defect("forgetful_broker")
def trust_the_brokers_memory(switch: Switch) -> None:
    """A broker that forgot is told nothing again."""
    switch.set(outbox, "queue_retained_again", lambda *_, **__: None)
    switch.set(trustees, "ask_for_reports", lambda *_, **__: None)


@defect("forgetful_broker")
def never_publish_a_chunk_again(switch: Switch) -> None:
    switch.set(blobs, "republish", lambda *_: None)


@defect("power_cuts")
def believe_an_old_will(switch: Switch) -> None:
    """Whatever presence came last holds, and wills come late."""

    def presence(org: Any, connection: Any, payload: bytes, now_s: float) -> bool:
        message = observed.open_mac(observed.Presence, payload, org.keys_of(connection).mac_key)
        after = replace(connection, is_online=int(message.is_online), presence_s=now_s)
        devices.put_connection(org.db, after)
        return True

    switch.set(observed, "presence", presence)


@defect("shaky_controller")
def forget_a_rollout_at_a_restart(switch: Switch) -> None:
    """What a rollout has learnt is not kept."""

    def keep(org: Any, now_s: float) -> None:
        org.dirty.clear()

    switch.set(rollouts, "keep", keep)


@defect("dead_controller")
def count_the_time_of_a_dead_process(switch: Switch) -> None:
    """Deadlines run on while nobody could listen."""
    switch.set(rollouts, "process_started", lambda org: None)


@defect("new_director")
def keep_what_the_former_director_signed(switch: Switch) -> None:
    """After new keys only new documents are signed with them."""
    switch.set(devices, "make_all_due", lambda db: None)
