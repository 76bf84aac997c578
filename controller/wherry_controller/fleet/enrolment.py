"""Enrolment: a device's signed request becomes a connection with its units, and an answer.

Rules:
1. The request is signed by the key it brings, so whoever made it holds that key.
2. A name belongs to the key that took it first; another key is refused until the name is revoked.
   The same device is answered again only where that is asked for: its broker password changes,
   and a device that does not get the new answer is locked out.
3. The answer is signed by the director, whose key the root in it names.
"""

import json
from dataclasses import replace

from wherry_protocol import cose
from wherry_protocol.codec import decode
from wherry_protocol.errors import Code, StateError, WherryError
from wherry_protocol.messages.enrolment import BrokerLogin, EnrolAnswer, EnrolRequest
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import open_sealed

from wherry_controller.broker import mosquitto, provision
from wherry_controller.fleet.organization import Organization
from wherry_controller.settings import BrokerSettings
from wherry_controller.store import classes, devices
from wherry_controller.store.devices import Connection, Unit


def open_request(data: bytes) -> EnrolRequest:
    """The request, signed by its own key. Raises DecodeError or TrustError."""
    claimed = decode(EnrolRequest, cose.unverified_payload(data))
    return open_sealed(EnrolRequest, data, TrustRole.DEVICE, [claimed.signing_key])


def enroll(
    org: Organization,
    data: bytes,
    broker: BrokerSettings,
    ca_pem: str,
    who: str,
    now_s: float,
    *,
    is_again: bool = False,
) -> tuple[str, bytes]:
    """(connection, signed answer). Raises StateError for a name that is taken."""
    request = open_request(data)
    if not request.units or len({u.unit for u in request.units}) != len(request.units):
        raise WherryError("an enrolment needs at least one unit, and each unit's name once")
    profiles = {u.unit: classes.get(org.db, u.hardware_class) for u in request.units}
    keys = org.keyring.of_connection(org.name, request.connection, request.agreement_key)
    del keys  # derived here only so that a weak key is refused before anything is written
    password = provision.make_password(org.random)
    _check_name(org, request, is_again)
    _put_connection(org, request, password, who, now_s)
    for asked in request.units:
        _put_unit(org, request.connection, asked.unit, asked.hardware_class)
    named = {u.unit: u.hardware_class for u in request.units}
    org.record(now_s, who, "device.enroll", request.connection, units=named,
               signing_key=request.signing_key.hex())  # fmt: skip
    login = BrokerLogin(
        host=broker.device_host or broker.host,
        port=broker.port,
        username=mosquitto.username(org.name, request.connection),
        password=password,
        ca_pem=ca_pem,
        is_tls=broker.is_tls,
    )
    answer = EnrolAnswer(
        org=org.name,
        connection=request.connection,
        nonce=request.nonce,
        issued_s=int(now_s),
        roots=org.trust.roots,
        agreement_key=org.keyring.agreement.public,
        broker=login,
        classes=profiles,
    )
    return request.connection, org.direct(answer)


def _check_name(org: Organization, request: EnrolRequest, is_again: bool) -> None:
    existing = devices.find_connection(org.db, request.connection)
    if existing is None:
        return
    is_same = existing.signing_key == request.signing_key
    if existing.is_revoked and is_same:
        raise StateError(
            f"device {request.connection!r} was revoked; make new keys on it and enroll again",
            Code.FORBIDDEN,
        )
    if not existing.is_revoked and not is_same:
        raise StateError(
            f"device {request.connection!r} is enrolled with another key; "
            "revoke it first, or choose another name"
        )
    if not existing.is_revoked and not is_again:
        raise StateError(
            f"device {request.connection!r} is enrolled; ask with --again for a new answer, "
            "which changes its broker password: the device needs that answer to come back"
        )


def _put_connection(
    org: Organization, request: EnrolRequest, password: str, who: str, now_s: float
) -> None:
    existing = devices.find_connection(org.db, request.connection)
    hashed = mosquitto.password_hash(password, org.random(mosquitto.SALT_BYTES))
    row = Connection(
        name=request.connection,
        signing_key=request.signing_key,
        agreement_key=request.agreement_key,
        labels=json.dumps(request.labels, sort_keys=True),
        username=mosquitto.username(org.name, request.connection),
        login_hash=hashed,
        enrolled_s=now_s,
        enrolled_by=who,
        connection_number=0 if existing is None else existing.connection_number,
    )
    devices.put_connection(org.db, row)


def _put_unit(org: Organization, connection: str, name: str, hardware_class: str) -> None:
    """A unit that is there keeps its revision, which may never go back."""
    unit = devices.find_unit(org.db, connection, name) or Unit(connection, name, hardware_class)
    devices.put_unit(org.db, replace(unit, hardware_class=hardware_class))


def revoke(org: Organization, connection: str, who: str, reason: str, now_s: float) -> None:
    """The device is believed no more and loses its broker login. Raises NotFoundError."""
    row = devices.connection(org.db, connection)
    devices.put_connection(org.db, replace(row, is_revoked=1, is_online=0))
    org.record(now_s, who, "device.revoke", connection, reason)
