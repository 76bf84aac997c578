"""`reported`: what a unit says it is, signed by the device, sent on change.

Rules:
1. At most one per second and unit, except for outcomes, which go at once. A refusal waits like
   the rest: how many there are is up to whoever sends what is refused.
2. It is sent again on every connection, and when the director asks everybody; presence is said
   again with it then, since a controller that asks may know nothing. A new root counts as being
   asked: what the director has asked under its keys was refused.
3. (boot_count, sequence) only rises. A boot whose number never became durable (a disk that takes
   nothing for a whole life) has its number from the one before; so the sequence is at least the
   fleet's time, once that is known.
"""

from wherry_protocol.blobs import chunk_count
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import assignment_id
from wherry_protocol.messages.reported import (
    MissingChunks,
    ModelReport,
    Outcome,
    Phase,
    Reported,
    SlotReport,
)
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.replacing import replace
from wherry_protocol.sealed import seal

from wherry_agent.core import candidates, guarding
from wherry_agent.core import transfer as transfers
from wherry_agent.core.effects import Publish
from wherry_agent.core.model import ModelState
from wherry_agent.core.presence import presence
from wherry_agent.core.record import Slot
from wherry_agent.core.state import PROTOCOL_MAX, PROTOCOL_MIN, Agent, UnitState
from wherry_agent.core.turn import Turn

INTERVAL_US = 1_000_000
SEQUENCES_PER_S = 1000  # more than a unit sends, even where everything is urgent
REASON_MAX = 256


def publish_due(turn: Turn) -> None:
    """Send every unit's `reported` that is due at this moment."""
    if not turn.agent.is_connected:
        return
    for name in list(turn.agent.units):
        if _is_due(turn.unit(name), turn.now_us):
            _publish(turn, name)


def _is_due(unit: UnitState, now_us: int) -> bool:
    out = unit.outgoing
    if out.due_us is not None and now_us >= out.due_us:
        return True
    if not out.is_dirty:
        return False
    return out.is_urgent or out.sent_us is None or now_us - out.sent_us >= INTERVAL_US


def _publish(turn: Turn, name: str) -> None:
    unit = turn.unit(name)
    floor = (turn.now_s or 0) * SEQUENCES_PER_S
    sequence = max(unit.outgoing.sequence + 1, floor)
    message = build(turn.agent, unit, sequence, turn.now_us)
    due_us = unit.outgoing.due_us
    outgoing = replace(
        unit.outgoing,
        sequence=sequence,
        sent_us=turn.now_us,
        is_dirty=False,
        is_urgent=False,
        due_us=None if due_us is not None and turn.now_us >= due_us else due_us,
    )
    turn.put(replace(unit, outgoing=outgoing))
    identity = turn.agent.identity
    if due_us is not None and outgoing.due_us is None:
        here = presence(identity, turn.agent.connection_number, True)
        turn.do(Publish(identity.topics.presence(identity.connection), here, is_retained=True))
    topic = identity.topics.reported(identity.connection, name)
    payload = seal(message, TrustRole.DEVICE, identity.signing_key)
    turn.do(Publish(topic, payload, is_retained=True))


def build(agent: Agent, unit: UnitState, sequence: int, now_us: int) -> Reported:
    """The unit's report at this moment."""
    time_s = agent.clock.now_s(now_us)
    refusal = unit.refusal
    return Reported(
        org=agent.identity.org,
        connection=agent.identity.connection,
        unit=unit.name,
        boot_id=agent.boot_id,
        boot_count=agent.boot_count,
        sequence=sequence,
        monotonic_us=now_us,
        time_s=time_s,
        epoch=agent.trust.root.epoch,
        revision=unit.memory.revision,
        root_number=agent.trust.root.number,
        models=tuple(_model(agent, unit, unit.models[name]) for name in sorted(unit.models)),
        missing=_missing(agent, unit, now_us),
        nonce=agent.clock.nonce if time_s is None else None,
        agent_version=agent.settings.agent_version,
        engine_abi_min=agent.settings.abi_min,
        engine_abi_max=agent.settings.abi_max,
        protocol_min=PROTOCOL_MIN,
        protocol_max=PROTOCOL_MAX,
        hardware_class=agent.identity.classes[unit.name].name,
        refusal_code=refusal.code if refusal else Code.OK,
        refusal=refusal.text[:REASON_MAX] if refusal else "",
        refused_revision=refusal.revision if refusal else 0,
        storage_free_bytes=agent.free_bytes,
        is_isolated=unit.memory.is_isolated,
        stop_sequence=agent.stop_sequence,
        is_trust_stale=agent.is_trust_stale,
        reports_dropped=agent.reports.dropped_count,
    )


def _model(agent: Agent, unit: UnitState, state: ModelState) -> ModelReport:
    record = state.record
    waiting = unit.waiting.get(state.model)
    trial = state.trial
    code, reason = why(unit, state)
    return ModelReport(
        model=state.model,
        phase=state.phase,
        outcome=Outcome.NONE if waiting else record.outcome,
        assignment_id=assignment_id(waiting.assignment) if waiting else record.assignment_id,
        active=_slot(record.active),
        previous=_slot(record.previous),
        candidate=_slot(record.candidate),
        code=code,
        reason=reason[:REASON_MAX],
        progress_permille=progress_permille(agent, unit, state),
        good_inferences=trial.good_count if trial else _proven(record.active),
        start_count=trial.start_count if trial else 0,
        candidate_mode=candidates.mode_of(record),
        is_previous_loaded=candidates.is_previous_loaded(unit, record),
    )


def why(unit: UnitState, state: ModelState) -> tuple[Code, str]:
    """The code and sentence of a model: why it waits, how it ended, or what its breaker says."""
    waiting = unit.waiting.get(state.model)
    if waiting is not None:
        return waiting.code, waiting.reason
    broken = guarding.reason(unit, state.model)
    if broken and state.record.code is Code.OK:
        return Code.BREAKER_OPEN, broken
    return state.record.code, state.record.reason


def _proven(active: Slot | None) -> int:
    return 0 if active is None else active.good_inferences


def _slot(slot: Slot | None) -> SlotReport | None:
    if slot is None:
        return None
    return SlotReport(manifest_digest=slot.manifest_digest, version=slot.version)


def progress_permille(agent: Agent, unit: UnitState, state: ModelState) -> int:
    """How much of the bundle is here, by chunks."""
    if state.phase is Phase.IDLE:
        return 0
    plan = unit.plans.get(state.model)
    if state.phase is not Phase.FETCHING or plan is None:
        return 1000 if state.phase is not Phase.FETCHING else 0
    if plan.is_manifest or plan.is_surveying:
        return 0
    total = sum(chunk_count(blob.size_bytes) for blob in plan.blobs)
    wants = agent.transfer.wants
    lacking = sum(wants[digest].missing_count for digest in plan.unfetched if digest in wants)
    return 1000 * (total - lacking) // total if total else 1000


def _missing(agent: Agent, unit: UnitState, now_us: int) -> tuple[MissingChunks, ...]:
    """What this unit's installs lack, if nothing comes any more."""
    wanted = {blob.digest for plan in unit.plans.values() for blob in plan.blobs}
    return tuple(one for one in transfers.missing(agent.transfer, now_us) if one.digest in wanted)
