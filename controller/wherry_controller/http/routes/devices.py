"""Devices: enrolment, what they report, configuration, isolation."""

import binascii
import time
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from wherry_protocol.errors import Code, DecodeError, UnreachableError
from wherry_protocol.messages.rpc import Verb

from wherry_controller.broker import provision
from wherry_controller.fleet import Organization, asking, configuring, enrolment, rollouts
from wherry_controller.http import views
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import AskedOfUnit, Configuration, Enrolment, WithReason
from wherry_controller.store import devices, questions

router = APIRouter(tags=["devices"])
LOOK_S: Final = 0.02
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]


def base64_bytes(text: str, what: str) -> bytes:
    """Raises DecodeError."""
    try:
        return b64decode(text, validate=True)
    except binascii.Error as error:
        raise DecodeError(f"{what} is not base64: {error}", Code.MALFORMED) from error


@router.get("/devices", operation_id="devices.list")
def everyone(desk: At, target: str = "all") -> list[dict[str, Any]]:
    """Units that a selector takes, with the models that they report."""
    return views.units(desk.reader, target, desk.clock())


@router.get("/devices/{connection}", operation_id="devices.show")
def show(connection: str, desk: At) -> dict[str, Any]:
    """One connection with its units, their models, assignments and resources."""
    return views.connection(desk.reader, connection)


@router.post("/devices", operation_id="devices.enroll", status_code=201)
def enroll(body: Enrolment, desk: At, by: By) -> dict[str, Any]:
    """Enroll a device by its signed request; the answer is carried to it by hand."""
    request = base64_bytes(body.request, "the request")
    broker = desk.settings.broker
    ca_pem = Path(broker.ca_file).read_text() if broker.ca_file else ""
    name, answer = desk.do(
        lambda org, now_s: enrolment.enroll(
            org, request, broker, ca_pem, by.name, now_s, is_again=body.is_again
        )
    )
    return {
        "connection": name,
        "answer": b64encode(answer).decode(),
        "broker_has_login": _provision(desk),
    }


def _provision(desk: Desk) -> bool:
    """Give the broker its new files; whether it has read them."""
    if desk.settings.broker.provisioning != "mosquitto":
        return False
    desk.do(lambda org, _: provision.write_files(org.db, desk.data, desk.settings))
    return provision.reload(desk.data)


@router.patch("/devices/{connection}/{unit}", operation_id="devices.configure")
def configure(connection: str, unit: str, body: Configuration, desk: At, by: By) -> dict[str, Any]:
    """Change intervals, mirror, chunk window or labels; what is left out stays."""
    changes = body.model_dump(exclude_none=True)
    unit_id = f"{connection}/{unit}"
    desk.do(lambda org, now_s: configuring.configure(org, unit_id, changes, by.name, now_s))
    return views.connection(desk.reader, connection)


@router.post("/devices/{connection}/{unit}/isolate", operation_id="devices.isolate")
def isolate(connection: str, unit: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Take a unit out of service and out of every rollout; it still reports."""

    def run(org: Organization, now_s: float) -> None:
        unit_id = f"{connection}/{unit}"
        configuring.isolate(org, unit_id, True, by.name, body.reason, now_s)
        rollouts.preempt(org, unit_id, None, f"isolated by {by.name}: {body.reason}", now_s)

    desk.do(run)
    return views.connection(desk.reader, connection)


@router.post("/devices/{connection}/{unit}/release", operation_id="devices.release")
def release(connection: str, unit: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Let an isolated unit serve again."""
    unit_id = f"{connection}/{unit}"
    desk.do(
        lambda org, now_s: configuring.isolate(org, unit_id, False, by.name, body.reason, now_s)
    )
    return views.connection(desk.reader, connection)


@router.post("/devices/{connection}/revoke", operation_id="devices.revoke")
def revoke(connection: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Believe a device no more; its broker login ends."""

    def run(org: Organization, now_s: float) -> None:
        enrolment.revoke(org, connection, by.name, body.reason, now_s)
        for unit in devices.units(org.db, connection):
            rollouts.preempt(org, unit.id, None, f"revoked by {by.name}", now_s)

    desk.do(run)
    return {"connection": connection, "broker_has_read": _provision(desk)}


@router.post("/devices/{connection}/{unit}/ask", operation_id="devices.ask")
def ask(connection: str, unit: str, body: AskedOfUnit, desk: At, by: By) -> dict[str, Any]:
    """Ask a unit that is online, and wait for its answer: status, infer, verify, logs
    or reset_breaker."""
    verb = Verb[body.verb.upper()]
    content = asking.body_of(verb, body.model, base64_bytes(body.input, "input"), body.count)
    unit_id = f"{connection}/{unit}"
    question_id = desk.do(
        lambda org, now_s: asking.ask(org, unit_id, verb, content, by.name, body.reason, now_s)
    )
    deadline = time.monotonic() + asking.VALID_S
    while time.monotonic() < deadline:
        row = questions.find(desk.reader, question_id)
        if row is not None and row.answered_s is not None:
            return views.answer(row)
        time.sleep(LOOK_S)
    raise UnreachableError(f"{unit_id} did not answer within {asking.VALID_S:g} s")
