"""What devices say of themselves: `reported` and presence, believed only when authentic.

Rules, in order:
1. The signature (or MAC) is that of the connection in the topic, and the body says the same
   address as the topic: nobody speaks for another.
2. (`boot_count`, `sequence`) and the connection number only rise: an old message that is sent
   again changes nothing.
3. A unit that does not know the time is answered, whatever else holds.
4. A unit whose revision is above ours (our store is from a backup) gets one above its own; not
   where nobody can have counted so far: then the director's key is in other hands, only a new
   epoch helps, and `noticing` says so.
"""

from wherry_protocol.codec import Unknown, encode
from wherry_protocol.errors import Code, TrustError
from wherry_protocol.messages.observed import Presence
from wherry_protocol.messages.reported import ModelReport, Outcome, Reported, SlotReport
from wherry_protocol.messages.rpc import Request, TimeAnswer, Verb
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.replacing import replace
from wherry_protocol.sealed import open_mac, open_sealed

from wherry_controller.fleet import blobs, desires
from wherry_controller.fleet.organization import Organization, Outbound
from wherry_controller.store import assignments, devices, events, versions
from wherry_controller.store.assignments import Failure
from wherry_controller.store.devices import Connection, Unit, UnitModel
from wherry_controller.store.versions import UnitVersion

ANSWER_VALID_S = 120
FAILED = (Outcome.REJECTED, Outcome.REVERTED)


def wire(value: int | Unknown) -> int:
    """The number of an enum value, known or not."""
    return value.value if isinstance(value, Unknown) else int(value)


def check_address(org: Organization, said: tuple[str, ...], topic: tuple[str, ...]) -> None:
    """Raises TrustError(WRONG_TARGET) unless the body's address is the topic's."""
    if said != (org.name, *topic):
        raise TrustError(
            f"a message of {'/'.join(said)} on the topic of {'/'.join(topic)}", Code.WRONG_TARGET
        )


def presence(org: Organization, connection: Connection, payload: bytes, now_s: float) -> bool:
    """Take note of who is online; whether anything changed. Raises TrustError, DecodeError."""
    message = open_mac(Presence, payload, org.keys_of(connection).mac_key)
    check_address(org, (message.org, message.connection), (connection.name,))
    stored = (connection.connection_number, not connection.is_online)
    if (message.connection_number, not message.is_online) <= stored:
        return False
    after = replace(
        connection,
        is_online=int(message.is_online),
        connection_number=message.connection_number,
        presence_s=now_s,
    )
    devices.put_connection(org.db, after)
    return True


def reported(
    org: Organization, connection: Connection, unit_name: str, payload: bytes, now_s: float
) -> tuple[list[Outbound], list[UnitModel]]:
    """Take a unit's report in. What to answer, and the models whose rows changed.

    Raises TrustError, DecodeError.
    """
    message = open_sealed(Reported, payload, TrustRole.DEVICE, [connection.signing_key])
    said = (message.org, message.connection, message.unit)
    check_address(org, said, (connection.name, unit_name))
    unit = devices.unit(org.db, connection.name, unit_name)
    answers = [] if message.nonce is None else [_time_answer(org, message, message.nonce, now_s)]
    if (message.boot_count, message.sequence) <= (unit.boot_count, unit.sequence):
        return answers, []
    after = _noted(unit, message, now_s)
    devices.put_unit(org.db, after)
    changed = _models(org, message, now_s)
    if _needs_desired(org, unit, after, message):
        is_ahead = _is_ahead(org, after, message)
        follows = replace(after, revision=message.revision) if is_ahead else after
        desires.issue(org, follows, now_s)
    if message.missing:
        wanted = [a.bundle_digest for a in assignments.of_unit(org.db, unit.connection, unit.unit)]
        blobs.republish(org, wanted, message.missing, now_s)
    return answers, changed


def _time_answer(org: Organization, message: Reported, nonce: bytes, now_s: float) -> Outbound:
    answer = TimeAnswer(
        nonce=nonce, time_s=int(now_s), epoch=org.epoch, root_number=org.trust.root.number
    )
    request = Request(
        org=org.name,
        connection=message.connection,
        unit=message.unit,
        id=org.random(16),
        issued_s=int(now_s),
        expires_s=int(now_s) + ANSWER_VALID_S,
        verb=Verb.TIME,
        body=encode(answer),
    )
    return Outbound(org.topics.rpc(message.connection, message.unit), org.direct(request))


def _noted(unit: Unit, message: Reported, now_s: float) -> Unit:
    return replace(
        unit,
        seen_s=now_s,
        boot_count=message.boot_count,
        sequence=message.sequence,
        reported_revision=message.revision,
        agent_version=message.agent_version,
        abi_min=message.engine_abi_min,
        abi_max=message.engine_abi_max,
        protocol_min=message.protocol_min,
        protocol_max=message.protocol_max,
        refusal=message.refusal,
        refusal_code=wire(message.refusal_code),
        storage_free_bytes=message.storage_free_bytes,
        stop_sequence=message.stop_sequence,
        reports_dropped=message.reports_dropped,
        is_trust_stale=int(message.is_trust_stale),
    )


def _needs_desired(org: Organization, before: Unit, after: Unit, message: Reported) -> bool:
    def ranges(unit: Unit) -> tuple[int | None, ...]:
        return (unit.abi_min, unit.abi_max, unit.protocol_min, unit.protocol_max)

    has_none = after.issued_s is None or after.epoch != org.epoch
    return has_none or _is_ahead(org, after, message) or ranges(before) != ranges(after)


def _is_ahead(org: Organization, unit: Unit, message: Reported) -> bool:
    """Rule 4."""
    is_ours = message.epoch == org.epoch
    return is_ours and unit.revision < message.revision <= desires.REVISION_MAX


def _models(org: Organization, message: Reported, now_s: float) -> list[UnitModel]:
    changed = []
    for model in message.models:
        row = _row(message, model, now_s)
        before = devices.find_model(org.db, row.connection, row.unit, row.model)
        if before is None or replace(before, updated_s=now_s) != row:
            devices.put_model(org.db, row)
            changed.append(row)
            if row.active_digest and (before is None or before.active_digest != row.active_digest):
                _note_serving(org, row, now_s)
        _remember_failure(org, row, now_s)
    names = [model.model for model in message.models]
    devices.forget_models_except(org.db, message.connection, message.unit, names)
    return changed


def _note_serving(org: Organization, row: UnitModel, now_s: float) -> None:
    """One row of the unit's history: it began to serve this version, by whose will."""
    held = assignments.find(org.db, row.connection, row.unit, row.model)
    is_this = held is not None and held.bundle_digest == row.active_digest
    served = UnitVersion(
        None, now_s, row.connection, row.unit, row.model, row.active_version or "",
        row.active_digest or b"", held.owner if held is not None and is_this else "device",
        held.rollout if held is not None and is_this else "",
    )  # fmt: skip
    versions.put_served(org.db, served)


def _row(message: Reported, model: ModelReport, now_s: float) -> UnitModel:
    def slot(report: SlotReport | None) -> tuple[bytes | None, str | None]:
        return (None, None) if report is None else (report.manifest_digest, report.version)

    return UnitModel(
        message.connection,
        message.unit,
        model.model,
        wire(model.phase),
        wire(model.outcome),
        model.assignment_id,
        *slot(model.active),
        *slot(model.previous),
        *slot(model.candidate),
        code=wire(model.code),
        reason=model.reason,
        progress_permille=model.progress_permille,
        good_inferences=model.good_inferences,
        start_count=model.start_count,
        updated_s=now_s,
    )


def _remember_failure(org: Organization, row: UnitModel, now_s: float) -> None:
    """A bundle that failed here is not offered here again by itself."""
    if row.outcome not in FAILED or row.assignment_id is None:
        return
    assigned = assignments.find(org.db, row.connection, row.unit, row.model)
    if assigned is None or assigned.assignment_id != row.assignment_id:
        return
    if assignments.failure(org.db, row.connection, row.unit, assigned.bundle_digest) is None:
        failure = Failure(
            row.connection, row.unit, assigned.bundle_digest, row.code, row.reason, now_s
        )
        assignments.put_failure(org.db, failure)


def count_dropped(org: Organization, reason: str, text: str, now_s: float) -> None:
    """One message was not believed; devices and operators see the count, nothing else changes."""
    events.count_dropped(org.db, reason, text, now_s)
