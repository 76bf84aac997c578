"""Mistakes that an agent could make."""

# ruff: noqa: ARG001, ARG005  (a wrong rule takes the parameters of the right one)

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from wherry_agent.core import (
    acceptance,
    agent,
    boot,
    clock,
    desired,
    inbox,
    installing,
    installs,
    penalty,
    reporting,
    reports,
    transfer,
    trying,
    update,
)
from wherry_agent.core.desired import Novelty
from wherry_agent.core.effects import Remember, Swap
from wherry_agent.core.inputs import Figures
from wherry_agent.core.transfer import Transfer
from wherry_agent.core.trial import Judgement, Verdict
from wherry_agent.core.turn import Turn
from wherry_agent.shell import record_file
from wherry_protocol.messages.reported import Phase

from tests.simulation.defects import Switch, defect

Disk = Any


@defect("power_cuts")
def skip_an_fsync(switch: Switch) -> None:
    """The record's bytes are renamed into place before they are durable."""

    def replace_quickly(disk: Disk, name: str, data: bytes, folder: str) -> None:
        disk.write(f"{name}.new", data)
        disk.rename(f"{name}.new", name)
        disk.fsync_dir(folder)

    switch.set(record_file, "replace_durably", replace_quickly)


@defect("power_cuts")
def skip_the_folders_fsync(switch: Switch) -> None:
    """The record's new name is not durable."""

    def replace_quickly(disk: Disk, name: str, data: bytes, folder: str) -> None:
        disk.write(f"{name}.new", data)
        disk.fsync(f"{name}.new")
        disk.rename(f"{name}.new", name)

    switch.set(record_file, "replace_durably", replace_quickly)


@defect("power_cuts")
def write_the_record_in_place(switch: Switch) -> None:
    """A cut in the middle leaves half a record."""

    def overwrite(disk: Disk, name: str, data: bytes, folder: str) -> None:
        disk.write(name, data)
        disk.fsync(name)
        disk.fsync_dir(folder)

    switch.set(record_file, "replace_durably", overwrite)


@defect("power_cuts")
def persist_after_activate(switch: Switch) -> None:
    """The pointer moves before the record says so."""
    right = installing.swap

    def swap(state: Any, around: Any) -> Any:
        after, effects = right(state, around)
        moved = [one for one in effects if isinstance(one, Swap)]
        rest = [one for one in effects if not isinstance(one, Swap)]
        return after, (*moved, *rest)

    switch.set(installing, "swap", swap)


@defect("old_backup")
def accept_an_equal_revision(switch: Switch) -> None:
    """Two documents under one revision are both followed."""

    def novelty(document: Any, digest: bytes, memory: Any) -> Novelty:
        if document.revision >= memory.revision:
            return Novelty.NEW
        raise desired.TrustError("old", desired.Code.ROLLBACK)

    switch.set(desired, "_novelty", novelty)


@defect("hostile_broker")
def accept_an_older_revision(switch: Switch) -> None:
    """A replayed document is followed."""
    switch.set(desired, "_novelty", lambda *_: Novelty.NEW)


@defect("stubborn")
def forget_the_penalty(switch: Switch) -> None:
    """A bundle that failed is tried again at once."""
    switch.set(penalty, "punish", lambda penalties, digest, now_s: penalties)


@defect("stubborn")
def serve_what_failed_its_golden_vectors(switch: Switch) -> None:
    switch.set(acceptance, "check_self_test", lambda *_: None)


@defect("stubborn")
def ignore_the_memory_budget(switch: Switch) -> None:
    switch.set(acceptance, "check_program", lambda *_: None)


@defect("stubborn")
def confirm_whatever_happens(switch: Switch) -> None:
    """Figures in a trial are never bad."""
    good = Verdict(Judgement.GO_ON)
    switch.set(trying.trials, "judge_figures", lambda *_: good)


@defect("stubborn")
def revert_on_paper_only(switch: Switch) -> None:
    """The record goes back and the pointer does not."""
    right = trying.revert

    def revert(*given: Any, **options: Any) -> Any:
        after, effects = right(*given, **options)
        return after, tuple(one for one in effects if not isinstance(one, Swap))

    switch.set(trying, "revert", revert)


@defect("power_cuts")
def try_for_ever(switch: Switch) -> None:
    """Starts without confirmation are not counted."""
    right = boot.trying

    def trying_on(trial: Any) -> Any:
        found = right(trial)
        return boot.Trying.GOES_ON if found is boot.Trying.EXHAUSTED else found

    switch.set(boot, "trying", trying_on)


@defect("power_cuts")
def remember_an_unfinished_assignment(switch: Switch) -> None:
    """After a boot in the middle of an install nobody begins it again."""
    switch.set(boot, "_forget_assignment", lambda record: replace(record, trial=None))


@defect("bad_weather")
def release_reports_before_the_ack(switch: Switch) -> None:
    """What was sent counts as delivered."""
    right = reports.add

    def add(held: Any, *given: Any) -> Any:
        after, effects = right(held, *given)
        return (replace(after, held={}) if after.is_connected else after), effects

    switch.set(reports, "add", add)


@defect("power_cuts")
def believe_an_ack_of_another_boot(switch: Switch) -> None:
    right = reports.acknowledge

    def acknowledge(held: Any, boot_id: bytes, sequence: int, now_us: int) -> Any:
        return right(held, held.boot_id, sequence, now_us)

    switch.set(reports, "acknowledge", acknowledge)


@defect("leaky_broker")
def put_off_sending_again_with_every_ack(switch: Switch) -> None:
    """A report that was lost on the way holds up all later ones."""
    right = reports.acknowledge

    def acknowledge(held: Any, boot_id: bytes, sequence: int, now_us: int) -> Any:
        after, effects = right(held, boot_id, sequence, now_us)
        return replace(after, sent_us=now_us), effects

    switch.set(reports, "acknowledge", acknowledge)


@defect("long_night")
def let_the_spool_grow(switch: Switch) -> None:
    """No segment makes room for another."""
    right = reports.spool_all
    switch.set(reports, "spool_all", lambda held: _unbounded(right, held))


def _unbounded(right: Callable[..., Any], held: Any) -> Any:
    after, effects = right(replace(held, spool_bytes_max=1 << 40))
    return replace(after, spool_bytes_max=held.spool_bytes_max), effects


@defect("bad_weather")
def ask_for_every_chunk_at_once(switch: Switch) -> None:
    right = transfer.plan

    def plan(asked: Transfer) -> Any:
        after, effects = right(replace(asked, window=64))
        return replace(after, window=asked.window), effects

    switch.set(transfer, "plan", plan)


@defect("stopped")
def install_under_a_stop(switch: Switch) -> None:
    right = installs._obstacle

    def obstacle(turn: Any, unit: Any, state: Any, assignment: Any) -> Any:
        found = right(turn, unit, state, assignment)
        return None if found is not None and found.code.name == "STOPPED" else found

    switch.set(installs, "_obstacle", obstacle)


@defect("wrong_clock")
def let_the_time_fall(switch: Switch) -> None:
    """An answer below the known floor is believed."""

    def answered(known: Any, answer: Any, now_us: int) -> Any:
        if answer.nonce != known.nonce:
            raise clock.TrustError("another nonce", clock.Code.REPLAY)
        return clock._forward(known, answer.time_s, answer.root_number, now_us)

    switch.set(clock, "answered", answered)


@defect("power_cuts")
def never_look_again(switch: Switch) -> None:
    """A document that came before the time was known is forgotten."""
    switch.set(inbox, "time_known", lambda turn: None)


@defect("canary")
def report_only_once(switch: Switch) -> None:
    """A change within a second of the last report is never told."""

    def is_due(unit: Any, now_us: int) -> bool:
        return bool(unit.outgoing.is_dirty and unit.outgoing.sent_us is None)

    switch.set(reporting, "_is_due", is_due)


@defect("power_cuts")
def confirm_without_a_record(switch: Switch) -> None:
    """The end of a trial is not written down."""
    right: Callable[..., Any] = trying.confirm

    def confirm(state: Any, around: Any) -> Any:
        after, effects = right(state, around)
        return after, tuple(one for one in effects if not isinstance(one, Remember))

    switch.set(trying, "confirm", confirm)


@defect("canary")
def ignore_figures(switch: Switch) -> None:
    """Nobody looks at a trial: it ends by its time only, and reverts good bundles."""
    switch.row(update.TRANSITIONS, (Phase.TRIAL, Figures), update.ignore)


@defect("full_disks")
def take_back_what_was_written(switch: Switch) -> None:
    """Where a record fails the whole step is undone, with the records that it has written."""
    right = agent.roll_back

    def roll_back(before: Any, after: Any, done: Any, left: Any) -> Any:
        return right(before, after, tuple(one for one in done if isinstance(one, Swap)), left)

    switch.set(agent, "roll_back", roll_back)


@defect("full_disks")
def leave_the_pointer_where_it_went(switch: Switch) -> None:
    """A way back whose record failed is forgotten, and the pointer has moved."""
    right = agent.roll_back

    def roll_back(before: Any, after: Any, done: Any, left: Any) -> Any:
        return right(before, after, tuple(one for one in done if not isinstance(one, Swap)), left)

    switch.set(agent, "roll_back", roll_back)


@defect("stolen_director")
def hold_a_new_director_to_old_numbers(switch: Switch) -> None:
    """A new epoch resets neither the revision nor the time: a theft is for ever."""
    switch.set(inbox, "_forget_epoch", lambda turn: None)


@defect("new_keys")
def take_every_root_for_a_new_epoch(switch: Switch) -> None:
    """Revision and time go back with a root that begins none."""
    right = Turn.persist
    forgets = [False]  # while it does, which may write a record too

    def persist(turn: Any) -> None:
        before = turn.agent.persisted
        is_new = before is not None and len(turn.agent.trust.roots) != len(before.roots)
        if is_new and not forgets[0]:
            forgets[0] = True
            inbox._forget_epoch(turn)
            forgets[0] = False
        right(turn)

    switch.set(Turn, "persist", persist)


@defect("stolen_director")
def go_on_with_an_install_of_another_epoch(switch: Switch) -> None:
    """Its keys went with the old document: a good bundle is blamed for it."""
    switch.set(inbox, "_let_go", lambda turn, unit_name: None)
