"""Questions to one unit: signed, short-lived, answered once, and audited."""

from dataclasses import replace

from wherry_protocol.codec import encode
from wherry_protocol.errors import Code, StateError, TrustError, WherryError
from wherry_protocol.messages.rpc import (
    InferRequest,
    LogsRequest,
    Reply,
    Request,
    ResetBreakerRequest,
    Verb,
)
from wherry_protocol.messages.rpc import VerifyRequest as VerifyBody
from wherry_protocol.sealed import open_mac

from wherry_controller.fleet.observed import check_address, wire
from wherry_controller.fleet.organization import Organization, Outbound
from wherry_controller.store import devices, questions
from wherry_controller.store.devices import Connection, Unit
from wherry_controller.store.questions import Question

VALID_S = 30.0
CHOSEN_SINCE = 2  # the protocol whose verify requests may name a bundle


def body_of(verb: Verb, model: str, data: bytes, count: int) -> bytes:
    """The encoded body of a verb. Raises WherryError(INVALID) where a value breaks its bounds."""
    try:
        if verb is Verb.INFER:
            return encode(InferRequest(model=model, input=data))
        if verb is Verb.VERIFY:
            return encode(VerifyBody(model=model))
        if verb is Verb.RESET_BREAKER:
            return encode(ResetBreakerRequest(model=model))
        if verb is Verb.LOGS:
            return encode(LogsRequest(count=count))
    except ValueError as error:
        raise WherryError(str(error), Code.INVALID) from error
    return b""


def verify_body(unit: Unit, model: str, digest: bytes | None) -> bytes:
    """The encoded body of VERIFY: of what serves, or of another bundle that the unit holds.

    Raises StateError for a unit that could not read which one is meant.
    """
    speaks = unit.protocol_max or 0
    if digest is not None and speaks < CHOSEN_SINCE:
        raise StateError(
            f"the agent of {unit.id} speaks protocol {speaks} and verifies what serves only:"
            f" {digest.hex()[:12]} does not serve there, and to ask for it needs protocol"
            f" {CHOSEN_SINCE}; update wherry-agent there, or let it serve first",
            Code.UNSUPPORTED_FORMAT,
        )
    return encode(VerifyBody(model=model, manifest_digest=digest))


def ask(
    org: Organization, unit_id: str, verb: Verb, body: bytes, who: str, reason: str, now_s: float
) -> bytes:
    """Put a question; its id, under which the answer will be found. Raises StateError, NotFound."""
    unit = devices.unit(org.db, *devices.split_id(unit_id))
    if not devices.connection(org.db, unit.connection).is_online:
        raise StateError(f"{unit.id} is offline: a question waits for nobody", Code.UNREACHABLE)
    question_id = org.random(16)
    request = Request(
        org=org.name,
        connection=unit.connection,
        unit=unit.unit,
        id=question_id,
        issued_s=int(now_s),
        expires_s=int(now_s + VALID_S),
        verb=verb,
        body=body,
    )
    topic = org.topics.rpc(unit.connection, unit.unit)
    org.asked.append(Outbound(topic, org.direct(request)))
    row = Question(question_id, unit.connection, unit.unit, int(verb), now_s, now_s + VALID_S)
    questions.put(org.db, row)
    org.record(now_s, who, f"device.{verb.name.lower()}", unit.id, reason)
    return question_id


def answered(
    org: Organization, connection: Connection, unit: str, payload: bytes, now_s: float
) -> Question | None:
    """Keep the first answer to a question that this unit was asked, and say what it is.

    Raises TrustError.
    """
    reply = open_mac(Reply, payload, org.keys_of(connection).mac_key)
    check_address(org, (reply.org, reply.connection, reply.unit), (connection.name, unit))
    row = questions.find(org.db, reply.id)
    if row is None or (row.connection, row.unit) != (connection.name, unit):
        raise TrustError(f"{connection.name}/{unit} answers what it was not asked", Code.REPLAY)
    if row.answered_s is not None:
        return None
    after = replace(row, answered_s=now_s, code=wire(reply.code), text=reply.text, body=reply.body)
    questions.put(org.db, after)
    return after
