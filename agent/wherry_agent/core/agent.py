"""The agent's core: `start` after every boot, then `step` for everything that happens.

    agent, effects = start(found, moment)
    agent, effects = step(agent, Connected(1), moment)

Pure: the shell brings the time, randomness, bytes and figures, and executes the effects in
order. Rules live where their subject lives: `desired`, `update`, `trial`, `boot`, `transfer`,
`reports`, `clock`, `questions`, `installs`, `breaker`, `guarding`.
"""

# ruff: noqa: ARG001  (every handler of the table takes the turn and its input)

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from wherry_protocol import trust as chain
from wherry_protocol.errors import Code
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Phase
from wherry_protocol.names import SELF
from wherry_protocol.replacing import replace

from wherry_agent.core import boot as boots
from wherry_agent.core import candidates, guarding, inbox, installs, memory, questions, reporting
from wherry_agent.core import reports as spool
from wherry_agent.core import transfer as transfers
from wherry_agent.core.clock import FleetClock
from wherry_agent.core.effects import (
    Effect,
    Isolate,
    LoadCandidate,
    Persist,
    Publish,
    SpoolDrop,
    SpoolWrite,
    Subscribe,
    Swap,
    Tell,
    Unsubscribe,
    WatchTrial,
)
from wherry_agent.core.inputs import (
    Answered,
    Assembled,
    BlobFinished,
    Connected,
    Deferred,
    Disconnected,
    Diverted,
    Figures,
    Input,
    Loaded,
    Moment,
    Noticed,
    PersistFailed,
    Ran,
    Received,
    Sampled,
    SegmentRead,
    SelfTested,
    Shadowed,
    SpoolFailed,
    StepFailed,
    Stopping,
    StorageSeen,
    StoreFailed,
    Surveyed,
    Ticked,
)
from wherry_agent.core.model import ModelState
from wherry_agent.core.presence import presence
from wherry_agent.core.record import AgentRecord, Slot, unit_record
from wherry_agent.core.reports import Reports, Segment, held_bytes_max
from wherry_agent.core.state import Agent, Identity, Settings, UnitState
from wherry_agent.core.transfer import Transfer
from wherry_agent.core.trial import Trial
from wherry_agent.core.turn import Turn

STORAGE_WAIT_US: Final = 30_000_000
WITHOUT_RECORD: Final = (Unsubscribe, SpoolWrite, SpoolDrop)  # done whatever became of the record
Stepped = tuple[Agent, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class Found:
    """What the shell found on disk and made for this boot.

    `manifests` holds, by digest, the manifest of every slot whose bytes were hashed and hold.
    """

    identity: Identity
    settings: Settings
    record: AgentRecord
    manifests: Mapping[bytes, Manifest]
    segments: tuple[Segment, ...]
    boot_id: bytes
    nonce: bytes


def start(found: Found, moment: Moment) -> Stepped:
    """The agent after a boot, and what has to be loaded. Raises TrustError for a bad chain."""
    boot_count = found.record.boot_count + 1
    agent = Agent(
        identity=found.identity,
        settings=found.settings,
        boot_id=found.boot_id,
        boot_count=boot_count,
        trust=chain.start(found.identity.org, found.record.roots),
        clock=FleetClock(
            nonce=found.nonce, floor_s=found.record.time_floor_s, fresh_us=moment.now_us
        ),
        units={},
        transfer=Transfer(found.identity.topics, progress_us=found.settings.transfer_progress_us),
        reports=Reports(
            boot_id=found.boot_id,
            boot_count=boot_count,
            hold_us=found.settings.report_hold_us,
            held_bytes_max=held_bytes_max(found.settings.spool_bytes_max),
            spool_bytes_max=found.settings.spool_bytes_max,
            segments=found.segments,
        ),
        stop_sequence=found.record.stop_sequence,
        is_stopped=found.record.is_stopped,
    )
    turn = Turn(agent, moment)
    for name in found.identity.classes:
        turn.put(UnitState(memory=replace(unit_record(found.record, name), models=())))
    starting = [
        (name, boots.boot(model, frozenset(found.manifests)))
        for name in found.identity.classes
        for model in unit_record(found.record, name).models
    ]
    for name, booted in starting:
        _put_booted(turn, name, booted, found.manifests)
    if SELF in turn.agent.units:
        budget_bytes = installs.class_of(turn, SELF).memory_budget_bytes
        turn.put(memory.booted(turn.unit(SELF), budget_bytes))
    turn.persist()  # the start is counted before anything serves
    held, dropped = spool.trim(turn.agent.reports)
    turn.change(reports=held)
    turn.do(*dropped)
    turn.tell(Tell(Kind.STARTED, Severity.INFO, f"agent {found.settings.agent_version} started"))
    for name in found.identity.classes:
        if unit_record(found.record, name).is_isolated:
            turn.do(Isolate(name, True))
    for name, booted in starting:
        _serve_booted(turn, name, booted)
    return turn.agent, tuple(turn.effects)


def _put_booted(
    turn: Turn, name: str, booted: boots.Booted, manifests: Mapping[bytes, Manifest]
) -> None:
    record = booted.record
    slots = [slot for slot in (record.active, record.previous, record.candidate) if slot]
    known = {
        slot.manifest_digest: manifests[slot.manifest_digest]
        for slot in slots
        if slot.manifest_digest in manifests
    }
    state = ModelState(record=record)
    if record.trial is not None and record.active is not None:
        trial = Trial(record.trial.limits, turn.now_us, record.trial.start_count)
        manifest = known[record.active.manifest_digest]
        state = ModelState(record=record, phase=Phase.TRIAL, manifest=manifest, trial=trial)
    unit = turn.unit(name)
    models = {**unit.models, record.model: state}
    turn.put(replace(unit, models=models, manifests={**unit.manifests, **known}))


def _serve_booted(turn: Turn, name: str, booted: boots.Booted) -> None:
    """Load and swap in what the boot table chose; then what stands beside it."""
    unit = turn.unit(name)
    record = unit.models[booted.record.model].record
    if booted.code is not Code.OK:
        kind = Kind.REVERTED if booted.code is Code.UNCONFIRMED_STARTS else Kind.STORAGE
        turn.tell(Tell(kind, Severity.ERROR, booted.reason, booted.code, record.model), name)
    if record.active is None:
        return
    _load(turn, unit, record.model, record.active)
    turn.do(Swap(name, record.model, record.active.manifest_digest))
    if record.trial is not None:
        turn.do(WatchTrial(name, record.model, record.active.manifest_digest))
    for slot in candidates.beside(record):
        if slot.manifest_digest in unit.manifests:
            _load(turn, unit, record.model, slot)
    turn.do(*candidates.shadow_again(name, record))


def _load(turn: Turn, unit: UnitState, model: str, slot: Slot) -> None:
    manifest = unit.manifests[slot.manifest_digest]
    turn.do(LoadCandidate(unit.name, model, slot, manifest, None))


def step(agent: Agent, given: Input, moment: Moment) -> Stepped:
    """The next agent and what the shell must do. Raises KeyError for an input nobody handles."""
    turn = Turn(agent, moment)
    HANDLERS[type(given)](turn, given)
    reporting.publish_due(turn)
    return turn.agent, tuple(turn.effects)


def roll_back(
    before: Agent, after: Agent, done: tuple[Effect, ...], left: tuple[Effect, ...]
) -> Stepped:
    """The agent when a `Persist` of the step from `before` to `after` failed, and what remains to
    be done of what is `left`.

    The agent goes back to the last record of the step that was written (the disk knows it), or to
    `before`. Where a pointer was moved since, its model stays with it (`update`, rules 4 and 7).
    Numbers that may have gone out are never used twice; what is subscribed and spooled, and what
    the time is, does not depend on the record; and what was to be reported still is.
    """
    written = [(n, one.agent) for n, one in enumerate(done) if isinstance(one, Persist)]
    at, base = written[-1] if written else (0, before)
    base = base or before
    moved = {(one.unit, one.model) for one in done[at:] if isinstance(one, Swap)}
    units = {
        name: _undone(unit, after.units[name], {m for u, m in moved if u == name})
        for name, unit in base.units.items()
    }
    agent = replace(
        base, units=units, reports=after.reports, transfer=after.transfer, buckets=after.buckets,
        revisions=after.revisions,
        clock=after.clock if after.trust is base.trust else base.clock,
    )  # fmt: skip
    return agent, tuple(one for one in left if isinstance(one, WITHOUT_RECORD))


def _undone(base: UnitState, after: UnitState, moved: set[str]) -> UnitState:
    memory = replace(base.memory, penalties=after.memory.penalties) if moved else base.memory
    return replace(
        base,
        memory=memory,
        models={**base.models, **{model: after.models[model] for model in moved}},
        outgoing=replace(base.outgoing, sequence=after.outgoing.sequence, is_dirty=True),
    )


# --- handlers


def _connected(turn: Turn, given: Connected) -> None:
    clock = replace(turn.agent.clock, ask_us=None)  # it is asked with this connection's reports
    turn.change(is_connected=True, connection_number=given.connection_number, clock=clock)
    turn.touch_all(is_urgent=True)
    transfer, asked_again = transfers.resubscribe(turn.agent.transfer, turn.now_us)
    held, sent_again = spool.connect(turn.agent.reports, turn.now_us)
    turn.change(transfer=transfer, reports=held)
    # Who misses the greeting begins to listen after it, and asks: by then we listen to him.
    identity = turn.agent.identity
    greeting = Publish(
        identity.topics.presence(identity.connection),
        presence(identity, given.connection_number, True),
        is_retained=True,
    )
    turn.do(Subscribe(inbox.subscriptions(turn)), greeting, *asked_again, *sent_again)


def _disconnected(turn: Turn, given: Disconnected) -> None:
    turn.change(is_connected=False, reports=spool.disconnect(turn.agent.reports))


def _ticked(turn: Turn, given: Ticked) -> None:
    for name in list(turn.agent.units):
        for model, state in list(turn.unit(name).models.items()):
            if state.phase is Phase.TRIAL or state.waits_for_window:
                installs.step_model(turn, name, model, given)
    inbox.tick(turn)
    for name, model, failing in guarding.tick(turn):
        installs.step_model(turn, name, model, failing)
    installs.begin_due(turn)
    installs.watch_progress(turn)
    held, effects = spool.tick(turn.agent.reports, turn.now_us)
    if held is not turn.agent.reports:
        turn.change(reports=held)
    turn.do(*effects)
    _watch_trust(turn)


def _watch_trust(turn: Turn) -> None:
    is_stale = turn.agent.clock.is_stale(turn.now_us)
    if is_stale != turn.agent.is_trust_stale:
        turn.change(is_trust_stale=is_stale)
        turn.touch_all(is_urgent=True)
        if is_stale:
            text = "no newer fleet time has come: somebody may be withholding messages"
            turn.tell(Tell(Kind.TRUST, Severity.WARNING, text, Code.STALE_TRUST))


def _persist_failed(turn: Turn, given: PersistFailed) -> None:
    """The disk does not take the record: let go of installs, try them again in a while.

    Whatever waits is looked at again then: the step that failed may have been to let it go.
    """
    turn.change(persisted=None)
    turn.tell(Tell(Kind.STORAGE, Severity.CRITICAL, given.text, Code.STORAGE))
    again_us = turn.now_us + STORAGE_WAIT_US
    for name in list(turn.agent.units):
        installs.halt(turn, name, Code.STORAGE, given.text)
        unit = turn.unit(name)
        waiting = {
            model: replace(one, until_us=min(one.until_us, again_us))
            for model, one in unit.waiting.items()
        }
        turn.put(replace(unit, waiting=waiting))
    turn.persist()
    if turn.agent.is_connected:
        turn.do(Subscribe(inbox.subscriptions(turn)))


def _sampled(turn: Turn, given: Sampled) -> None:
    turn.report_telemetry(given.unit, given.pack)


def _noticed(turn: Turn, given: Noticed) -> None:
    tell = Tell(given.kind, given.severity, given.text, given.code, given.model)
    turn.tell(tell, given.unit)


def _segment_read(turn: Turn, given: SegmentRead) -> None:
    missing = spool.missing_before(turn.agent.reports, given.name)
    held, effects = spool.segment_read(turn.agent.reports, given.name, given.data)
    turn.change(reports=held)
    if missing is not None and any(isinstance(one, Publish) for one in effects):
        turn.tell_missing(*missing)
    turn.do(*effects)


def _spool_failed(turn: Turn, given: SpoolFailed) -> None:
    held, effects = spool.write_failed(turn.agent.reports, given.name, given.data, turn.now_us)
    turn.change(reports=held)
    turn.do(*effects)


def _deferred(turn: Turn, given: Deferred) -> None:
    """The owner puts swaps off; each assignment's window says for how long that holds."""
    for name in turn.agent.units:
        unit = turn.unit(name)
        turn.put(replace(unit, memory=replace(unit.memory, deferred_s=given.until_s)))
    turn.persist()
    text = f"the owner puts swaps off until {given.until_s}" if given.until_s else (
        "the owner puts swaps off no longer")  # fmt: skip
    turn.tell(Tell(Kind.LOG, Severity.INFO, text, Code.DEFERRED))
    _ticked(turn, Ticked())


def _storage_seen(turn: Turn, given: StorageSeen) -> None:
    turn.change(free_bytes=given.free_bytes)


def _stopping(turn: Turn, given: Stopping) -> None:
    turn.tell(Tell(Kind.STOPPING, Severity.INFO, "agent stops"))
    for name in list(turn.agent.units):
        turn.put(candidates.stopped(turn.unit(name)))
    turn.persist()
    held, effects = spool.spool_all(turn.agent.reports)
    turn.change(reports=held)
    turn.do(*effects)


HANDLERS: Final[dict[type[Input], Callable[[Turn, Any], None]]] = {
    Ticked: _ticked,
    Connected: _connected,
    Disconnected: _disconnected,
    Received: inbox.receive,
    Surveyed: installs.surveyed,
    BlobFinished: installs.blob_finished,
    StoreFailed: installs.store_failed,
    PersistFailed: _persist_failed,
    SegmentRead: _segment_read,
    SpoolFailed: _spool_failed,
    Assembled: installs.from_unit,
    Loaded: installs.loaded,
    SelfTested: installs.from_unit,
    StepFailed: installs.from_unit,
    Figures: installs.from_unit,
    Shadowed: installs.from_unit,
    Ran: guarding.ran,
    Diverted: guarding.diverted,
    Answered: questions.answered,
    Sampled: _sampled,
    Noticed: _noticed,
    StorageSeen: _storage_seen,
    Deferred: _deferred,
    Stopping: _stopping,
}
