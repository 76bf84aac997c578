"""Inbox: from a topic and bytes that nobody vouches for to what the agent does about them.

Rules:
1. A topic that is not ours is ignored. A payload that is not believed changes nothing, is told
   as REFUSED (token-bucketed), and leaves what serves alone.
2. Each new revision is written to disk, so that there are at most so many per minute; the newest
   waits for its turn, whoever sends them.
3. A desired document that cannot be judged yet is kept, and looked at again when the time, the
   root chain or a stop has changed. Only the last one is kept.
4. While a document is refused, the broker is asked for it again, ever more rarely: what was
   damaged on its way was delivered, to the broker's mind.
"""

from collections.abc import Callable
from hashlib import sha256

from wherry_protocol import trust as chain
from wherry_protocol.blobs import unwrap_key
from wherry_protocol.errors import Code, TrustError, WherryError
from wherry_protocol.messages.desired import Desired, TelemetryConfig
from wherry_protocol.messages.limits import DESIRED_BYTES_MAX
from wherry_protocol.messages.observed import Ack, Kind, Severity
from wherry_protocol.messages.trust import FleetTime, ReportRequest, Stop
from wherry_protocol.replacing import replace
from wherry_protocol.sealed import open_mac
from wherry_protocol.topics import parse_chunk_topic, parse_device_topic

from wherry_agent.core import clock as clocks
from wherry_agent.core import desired as documents
from wherry_agent.core import installs, questions, tokens
from wherry_agent.core import reports as spool
from wherry_agent.core import transfer as transfers
from wherry_agent.core.clock import ASK_US_MAX, ASK_US_MIN, SECOND_US
from wherry_agent.core.desired import Addressee, Believed, Novelty, Refusal
from wherry_agent.core.effects import Collect, Configure, Isolate, Subscribe, Tell
from wherry_agent.core.inputs import Received
from wherry_agent.core.model import UNDER_WAY, Dropped
from wherry_agent.core.state import UnitState, kept_bundles
from wherry_agent.core.tokens import Bucket
from wherry_agent.core.turn import Turn

ROOTS_MAX = 64  # as many as the record and an enrolment answer hold


def receive(turn: Turn, given: Received) -> None:
    """Handle one message."""
    chunk = parse_chunk_topic(given.topic)
    if chunk is not None:
        installs.chunk_arrived(turn, chunk[0], chunk[1], given.payload)
        return
    if not given.payload:
        return  # a retained message was cleared
    topics = turn.agent.identity.topics
    fleet_wide = {
        topics.time: _take_fleet_time,
        topics.stop: _take_stop,
        topics.report: _take_report_request,
    }
    if given.topic in fleet_wide:
        _guarded(turn, fleet_wide[given.topic], given.payload)
    elif given.topic.startswith(f"{topics.prefix}/trust/root/"):
        _guarded(turn, _take_root, given.payload)
    else:
        _receive_own(turn, given)


def _receive_own(turn: Turn, given: Received) -> None:
    """A topic below this connection."""
    address = parse_device_topic(given.topic)
    identity = turn.agent.identity
    if address is None or (address.org, address.connection) != (identity.org, identity.connection):
        return
    if address.unit is None:
        if address.leaf == "ack":
            _guarded(turn, _take_ack, given.payload)
    elif address.unit in turn.agent.units:
        if address.leaf == "desired":
            take_document(turn, address.unit, given.payload)
        elif address.leaf == "rpc" and questions.asked(turn, address.unit, given.payload):
            time_known(turn)


def _guarded(turn: Turn, take: Callable[[Turn, bytes], None], payload: bytes) -> None:
    """A message that is not believed is told, and that is all."""
    try:
        take(turn, payload)
    except WherryError as error:
        turn.refuse(str(error), error.code)


def subscriptions(turn: Turn) -> tuple[str, ...]:
    """What a connection subscribes to, beside chunks."""
    identity = turn.agent.identity
    topics = identity.topics
    own = [topics.ack(identity.connection)]
    for unit in turn.agent.units:
        own += [topics.desired(identity.connection, unit), topics.rpc(identity.connection, unit)]
    next_root = topics.root(turn.agent.trust.root.number + 1)
    return (next_root, topics.time, topics.stop, topics.report, *own)


# --- desired


def take_document(turn: Turn, unit_name: str, payload: bytes) -> None:
    """Judge a desired document, and act on it if it is believed."""
    unit = turn.unit(unit_name)
    if len(payload) <= DESIRED_BYTES_MAX:
        turn.put(replace(unit, document=payload))
    addressee = Addressee(
        turn.agent.identity.connection, unit_name, turn.now_s, turn.agent.clock.newest_root
    )
    judged = documents.judge(payload, turn.agent.trust, addressee, unit.memory)
    if isinstance(judged, Believed) and judged.novelty is Novelty.NEW:
        judged = _in_its_turn(turn, judged)
    if isinstance(judged, Refusal):
        _refuse_document(turn, unit_name, judged)
    else:
        _follow_document(turn, unit_name, judged)


def _in_its_turn(turn: Turn, believed: Believed) -> Believed | Refusal:
    """Rule 2."""
    per_minute = turn.agent.settings.revisions_per_minute
    before = turn.agent.revisions or Bucket(float(per_minute), turn.now_us)
    bucket, is_allowed, _ = tokens.take(before, turn.now_us, per_minute)
    turn.agent = replace(turn.agent, revisions=bucket)
    if is_allowed:
        return believed
    text = f"more than {per_minute} new revisions in a minute: the newest waits for its turn"
    return Refusal(Code.OVERLOADED, text, believed.desired.revision)


def tick(turn: Turn) -> None:
    """Rules 2 and 4 as time goes on, and the time itself."""
    _ask_again(turn)
    if turn.agent.is_connected:
        clock, is_due = clocks.asked_again(turn.agent.clock, turn.now_us)
        turn.change(clock=clock)
        if is_due:
            turn.touch_all()  # what is reported without a time asks for it
    bucket, per_minute = turn.agent.revisions, turn.agent.settings.revisions_per_minute
    if bucket is None or not tokens.is_there_one(bucket, turn.now_us, per_minute):
        return
    for name in list(turn.agent.units):
        unit = turn.unit(name)
        if unit.document and unit.refusal and unit.refusal.code is Code.OVERLOADED:
            take_document(turn, name, unit.document)


def _ask_again(turn: Turn) -> None:
    """Rule 4. A subscription brings the retained document."""
    for name, unit in list(turn.agent.units.items()):
        if unit.ask_us is None or turn.now_us < unit.ask_us or not turn.agent.is_connected:
            continue
        wait_us = min(2 * unit.ask_wait_us, ASK_US_MAX)
        turn.put(replace(unit, ask_us=turn.now_us + wait_us, ask_wait_us=wait_us))
        identity = turn.agent.identity
        turn.do(Subscribe((identity.topics.desired(identity.connection, name),)))


def _refuse_document(turn: Turn, unit_name: str, refusal: Refusal) -> None:
    unit = turn.unit(unit_name)
    if unit.ask_us is None:
        unit = replace(unit, ask_us=turn.now_us + ASK_US_MIN, ask_wait_us=ASK_US_MIN)
        turn.put(unit)
    if refusal != unit.refusal:
        turn.put(replace(unit, refusal=refusal))
        turn.touch(unit_name)
    if refusal.code is not Code.TIME_UNKNOWN:
        turn.refuse(refusal.text, refusal.code, unit_name)


def _follow_document(turn: Turn, unit_name: str, believed: Believed) -> None:
    desired = believed.desired
    unit = turn.unit(unit_name)
    memory = replace(
        unit.memory,
        revision=desired.revision,
        desired_digest=believed.digest,
        is_isolated=desired.is_isolated,
    )
    is_first = unit.desired is None
    turn.put(replace(unit, memory=memory, desired=desired, refusal=None, ask_us=None))
    _take_class(turn, unit_name, desired)
    _renew_keys(turn, desired)
    turn.persist()
    if believed.novelty is Novelty.NEW or unit.refusal is not None:
        turn.touch(unit_name)
    if is_first or unit.desired is None or unit.desired.telemetry != desired.telemetry:
        turn.do(Configure(unit_name, _bounded_telemetry(unit, desired.telemetry)))
    if memory.is_isolated != unit.memory.is_isolated:
        _isolate(turn, unit_name, memory.is_isolated)
    for assignment in desired.assignments:
        installs.assign(turn, unit_name, assignment)
    installs.release(turn, unit_name)
    if is_first or believed.novelty is Novelty.NEW:
        # Not before: what an earlier boot left of these bundles must not be fetched again.
        turn.do(Collect(kept_bundles(turn.agent)))


def _bounded_telemetry(unit: UnitState, wanted: TelemetryConfig) -> TelemetryConfig:
    """Within the policies of what serves: nobody may wear the device out with reports."""
    serving = [unit.serving(model) for model in unit.models]
    shortest_s = max((one.policy.telemetry_s_min for one in serving if one), default=1)
    return replace(
        wanted,
        performance_s=max(wanted.performance_s, shortest_s),
        resources_s=max(wanted.resources_s, shortest_s),
    )


def _take_class(turn: Turn, unit_name: str, desired: Desired) -> None:
    """The director may refine the numbers of the unit's class, never give it another class."""
    identity = turn.agent.identity
    if desired.hardware_class.name == identity.classes[unit_name].name:
        classes = {**identity.classes, unit_name: desired.hardware_class}
        turn.change(identity=replace(identity, classes=classes))


def _renew_keys(turn: Turn, desired: Desired) -> None:
    """Wants that are under way take the content keys of the newest document."""
    keys = {}
    for digest in turn.agent.transfer.wants:
        if digest not in desired.blob_keys:
            continue
        try:
            wrapped = desired.blob_keys[digest]
            keys[digest] = unwrap_key(turn.agent.identity.keys.wrap_key, wrapped)
        except WherryError as error:
            turn.refuse(str(error), error.code, desired.unit)
    transfer = transfers.renew_keys(turn.agent.transfer, keys)
    turn.change(transfer=replace(transfer, window=desired.chunk_window))


def _isolate(turn: Turn, unit_name: str, is_isolated: bool) -> None:
    turn.do(Isolate(unit_name, is_isolated))
    turn.touch(unit_name, is_urgent=True)
    text = "isolated by the director" if is_isolated else "no longer isolated"
    turn.tell(Tell(Kind.TRUST, Severity.WARNING, text, Code.STOPPED), unit_name)
    if is_isolated:
        installs.halt(turn, unit_name, Code.STOPPED, "the unit is isolated")
    else:
        installs.resume(turn, unit_name)


def look_again(turn: Turn) -> None:
    """Judge the kept documents again: what they waited for may have come."""
    for name in list(turn.agent.units):
        unit = turn.unit(name)
        if unit.document is not None and (unit.refusal is not None or unit.desired is None):
            take_document(turn, name, unit.document)


# --- trust


def time_known(turn: Turn) -> None:
    """The director has answered the boot nonce. The floor is written with the next record."""
    turn.touch_all()
    look_again(turn)


def _take_fleet_time(turn: Turn, payload: bytes) -> None:
    time = chain.open_director(turn.agent.trust, FleetTime, payload)
    clock = clocks.announced(turn.agent.clock, time, turn.now_us)
    if clock is turn.agent.clock:
        return
    floor_before = turn.agent.persisted.time_floor_s if turn.agent.persisted else 0
    turn.change(clock=clock)
    if clock.floor_s - floor_before >= clocks.FLOOR_STEP_S:
        turn.persist()


def _take_root(turn: Turn, payload: bytes) -> None:
    before = turn.agent.trust
    # Without a time: whether the newest root has expired is asked when a document is judged, and
    # a clock that was set ahead by a stolen director must not keep its successor out.
    after = chain.advance(before, payload, None)
    if after is before:
        return
    if len(after.roots) > ROOTS_MAX:
        raise TrustError(
            f"root {after.root.number}: the chain is longer than {ROOTS_MAX}; enroll again",
            Code.OUT_OF_BOUNDS,
        )
    turn.change(trust=after)
    if after.root.epoch != before.root.epoch:
        _forget_epoch(turn)
    turn.persist()
    for name in list(turn.agent.units):  # who asked under the new keys was not believed
        _report_at(turn, name, turn.now_us)
    text = f"root {after.root.number} of epoch {after.root.epoch} accepted"
    turn.tell(Tell(Kind.TRUST, Severity.INFO, text))
    # Whatever the new keys signed comes again: documents, time, stop and the next root.
    turn.do(Subscribe(subscriptions(turn)))
    look_again(turn)


def _forget_epoch(turn: Turn) -> None:
    """Fast-forward recovery: what the old director numbered does not bind the new one.

    Nor does it go on with what the old one began: the keys to it went with the old document. That
    comes last, since it may write a record, and no record may know the root and an old number.
    """
    for name in list(turn.agent.units):
        unit = turn.unit(name)
        memory = replace(unit.memory, revision=0, desired_digest=None)
        turn.put(replace(unit, memory=memory, document=None, desired=None))
    before = turn.agent.clock
    nonce = sha256(before.nonce + turn.agent.trust.roots[-1]).digest()[: len(before.nonce)]
    clock = replace(before, nonce=nonce, floor_s=0, latest_s=0, base_s=None, ask_us=None)
    turn.change(clock=clock, stop_sequence=0, is_stopped=False)
    for name in list(turn.agent.units):
        _let_go(turn, name)


def _let_go(turn: Turn, unit_name: str) -> None:
    """Of every install that is under way or waits, until a document assigns it again; trials go
    on."""
    for model, state in list(turn.unit(unit_name).models.items()):
        if state.phase in UNDER_WAY:
            installs.step_model(turn, unit_name, model, Dropped(Code.OK, ""))
    turn.put(replace(turn.unit(unit_name), waiting={}))


def _take_stop(turn: Turn, payload: bytes) -> None:
    stop = chain.open_director(turn.agent.trust, Stop, payload)
    if stop.sequence == turn.agent.stop_sequence:
        return
    if stop.sequence < turn.agent.stop_sequence:
        raise TrustError(
            f"stop {stop.sequence} is older than {turn.agent.stop_sequence}", Code.REPLAY
        )
    turn.change(stop_sequence=stop.sequence, is_stopped=stop.is_stopped)
    turn.persist()
    turn.touch_all(is_urgent=True)
    word = "stopped" if stop.is_stopped else "go on"
    text = f"updates {word} by the director: {stop.reason}"
    turn.tell(Tell(Kind.TRUST, Severity.WARNING, text, Code.STOPPED))
    if stop.is_stopped:
        for name in list(turn.agent.units):
            installs.halt(turn, name, Code.STOPPED, f"updates are stopped: {stop.reason}")
    else:
        _resume_all(turn)


def _resume_all(turn: Turn) -> None:
    for name in list(turn.agent.units):
        installs.resume(turn, name)


def _take_report_request(turn: Turn, payload: bytes) -> None:
    request = chain.open_director(turn.agent.trust, ReportRequest, payload)
    due_us = turn.now_us + int(turn.moment.random * request.spread_s * SECOND_US)
    for name in list(turn.agent.units):
        _report_at(turn, name, due_us)


def _report_at(turn: Turn, unit_name: str, due_us: int) -> None:
    unit = turn.unit(unit_name)
    turn.put(replace(unit, outgoing=replace(unit.outgoing, due_us=due_us)))


def _take_ack(turn: Turn, payload: bytes) -> None:
    identity = turn.agent.identity
    ack = open_mac(Ack, payload, identity.keys.mac_key)
    if ack.connection != identity.connection:
        raise TrustError(f"ack: meant for {ack.connection}", Code.WRONG_TARGET)
    held, effects = spool.acknowledge(turn.agent.reports, ack.boot_id, ack.sequence, turn.now_us)
    turn.change(reports=held)
    turn.do(*effects)
