"""What the API shows: rows of the store as JSON values. Digests are hexadecimal, times Unix s."""

import dataclasses
import json
from typing import Any

from sqlite_utils import Database
from wherry_protocol import sketch
from wherry_protocol.codec import decode
from wherry_protocol.cose import unverified_payload
from wherry_protocol.errors import Code
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.desired import Assignment
from wherry_protocol.messages.limits import MANIFEST_BYTES_MAX
from wherry_protocol.messages.observed import Kind, Severity, Telemetry
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.messages.rpc import InferReply, LogsReply, StatusReply, Verb, VerifyReply
from wherry_protocol.senml import Record

from wherry_controller.core.audit_chain import AuditRow
from wherry_controller.core.rollouts import (
    OPEN,
    Lifecycle,
    Rollout,
    earliest_end_s,
    is_winding_down,
    ladder,
    lifecycle,
    member_row,
    restore,
    waiting_for,
)
from wherry_controller.core.rollouts import report as rollout_report
from wherry_controller.core.windows import Window
from wherry_controller.fleet import releasing, targets
from wherry_controller.fleet.fitting import Fit
from wherry_controller.settings import Settings
from wherry_controller.store import (
    assignments,
    devices,
    events,
    meta,
    outbox,
    performance,
    registry,
)
from wherry_controller.store import rollouts as kept
from wherry_controller.store.devices import Connection, Unit, UnitModel
from wherry_controller.store.events import EventRow
from wherry_controller.store.performance import ReportRow
from wherry_controller.store.questions import Question
from wherry_controller.store.registry import BundleRow
from wherry_controller.writer import Writer


def plain(value: Any) -> Any:
    """A JSON value: bytes as hexadecimal, enums by name, dataclasses as objects."""
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.name.lower() if hasattr(value, "name") and hasattr(value, "value") else value


def name_of(enum: Any, value: int) -> str:
    """An enum value's name, or what it is called while nobody here knows it."""
    known = enum._value2member_map_.get(value)
    return f"unknown({value})" if known is None else str(known.name.lower())


def model(row: UnitModel) -> dict[str, Any]:
    shown = plain(row)
    shown["phase"] = name_of(Phase, row.phase)
    shown["outcome"] = name_of(Outcome, row.outcome)
    shown["code"] = name_of(Code, row.code).upper()
    return {key: value for key, value in shown.items() if key not in ("connection", "unit")}


def unit(row: Unit, owner: Connection, models: list[UnitModel]) -> dict[str, Any]:
    shown = plain(row)
    shown |= {
        "id": row.id,
        "health": targets.health(owner, row, models),
        "is_isolated": bool(row.is_isolated),
        "json_mirror": bool(row.json_mirror),
        "is_trust_stale": bool(row.is_trust_stale),
        "is_online": bool(owner.is_online),
        "labels": json.loads(owner.labels),
        "refusal_code": name_of(Code, row.refusal_code).upper(),
        "models": [model(m) for m in models],
    }
    return dict(shown)


def units(db: Database, target: str, now_s: float) -> list[dict[str, Any]]:
    owners = {row.name: row for row in devices.connections(db)}
    found = []
    for facts in targets.chosen(db, target, now_s):
        row = devices.unit(db, facts.connection, facts.unit)
        models = devices.models_of(db, row.connection, row.unit)
        found.append(unit(row, owners[row.connection], models))
    return found


def connection(db: Database, name: str) -> dict[str, Any]:
    row = devices.connection(db, name)
    return {
        "name": row.name,
        "labels": json.loads(row.labels),
        "signing_key": row.signing_key.hex(),
        "enrolled_s": row.enrolled_s,
        "enrolled_by": row.enrolled_by,
        "is_revoked": bool(row.is_revoked),
        "is_online": bool(row.is_online),
        "presence_s": row.presence_s,
        "units": [_unit_in_full(db, row, u) for u in devices.units(db, name)],
    }


def _unit_in_full(db: Database, owner: Connection, row: Unit) -> dict[str, Any]:
    shown = unit(row, owner, devices.models_of(db, row.connection, row.unit))
    shown["assignments"] = [
        {
            "model": a.model,
            "assignment_id": a.assignment_id.hex(),
            "bundle": a.bundle_digest.hex(),
            "version": registry.bundle(db, a.bundle_digest).version,
            "owner": a.owner,
            "rollout": a.rollout,
            "attempt": a.attempt,
            "assigned_s": a.assigned_s,
            "trial": plain(decode(Assignment, a.document).trial),
        }
        for a in assignments.of_unit(db, row.connection, row.unit)
    ]
    resources = performance.resources(db, row.connection, row.unit)
    if resources is not None:
        shown["resources"] = {"received_s": resources[0], **json.loads(resources[1])}
    return shown


def bundle(row: BundleRow) -> dict[str, Any]:
    return {
        "model": row.model,
        "version": row.version,
        "digest": row.digest.hex(),
        "size_bytes": row.size_bytes,
        "pushed_s": row.pushed_s,
        "pushed_by": row.pushed_by,
        "stage": row.stage,
        "pinned_by": row.pinned_by,
        "accuracy": row.accuracy,
        "trained_s": row.trained_s,
    }


def lifecycle_of(db: Database, digest: bytes) -> str:
    """The state of a version, as pipelines name it: that of its newest rollout."""
    rollout_id = kept.newest_of(db, digest)
    if rollout_id is None:
        return Lifecycle.TRAINED.value
    return lifecycle(restore(kept.parts(db, rollout_id))).value


def bundle_in_full(row: BundleRow) -> dict[str, Any]:
    manifest = decode(Manifest, row.manifest, size_max=MANIFEST_BYTES_MAX)
    return bundle(row) | {"manifest": plain(manifest)}


def fit(row: Fit) -> dict[str, Any]:
    """A unit against a version."""
    return {
        "unit": row.unit.id,
        "hardware_class": row.unit.hardware_class,
        "agent_version": row.unit.agent_version,
        "abi_min": row.unit.abi_min,
        "abi_max": row.unit.abi_max,
        "serving": row.serving,
        "is_compatible": not row.misfits,
        "reasons": [{"code": misfit.code.name, "text": misfit.text} for misfit in row.misfits],
    }


def rollouts(db: Database, limit: int) -> list[dict[str, Any]]:
    return [
        plain(row) | {"is_open": bool(row.is_open), "is_winding_down": bool(row.is_winding_down)}
        for row in kept.everyone(db, limit)
    ]


def rollout(db: Database, rollout_id: str, now_s: float) -> dict[str, Any]:
    """As kept, with every unit."""
    row = kept.get(db, rollout_id)
    parts = kept.parts(db, rollout_id)
    state = restore(parts)
    return rollout_summary(state, now_s) | {
        "created_s": row.created_s,
        "updated_s": row.updated_s,
        "release": json.loads(parts.get(releasing.PART, "null")),
        "units": [member_row(member) for member in state.members.values()],
    }


def rollout_summary(state: Rollout, now_s: float) -> dict[str, Any]:
    """What is watched: counts, ladder, checks, who failed, what it waits for; no list of units."""
    end_s = earliest_end_s(state, now_s)
    return rollout_report(state) | {
        "id": state.rollout_id,
        "is_open": state.state in OPEN,
        "is_winding_down": is_winding_down(state),
        "created_by": state.created_by,
        "waiting_for": waiting_for(state, now_s),
        "ladder": [plain(rung) for rung in ladder(state, now_s)],
        "earliest_end_s": None if end_s is None else round(end_s),
        "seen_s": round(now_s),
    }


def window(row: Window) -> dict[str, Any]:
    latencies = sketch.from_bytes(row.sketch)

    def microseconds(q: float) -> float | None:
        found = latencies.quantile_ns(q)
        return None if found is None else found / 1e3

    shown = {key: value for key, value in plain(row).items() if key != "sketch"}
    return shown | {
        "latency_us_mean": None if latencies.mean_ns is None else latencies.mean_ns / 1e3,
        "latency_us_p50": microseconds(0.5),
        "latency_us_p95": microseconds(0.95),
        "latency_us_p99": microseconds(0.99),
        "energy_uj": row.energy_sum_uj / row.energy_count if row.energy_count else None,
    }


SENML = {"bn": "base_name", "bt": "base_time_s", "n": "name", "u": "unit", "v": "value",
         "vs": "string", "vb": "boolean", "vd": "data", "t": "time_s"}  # fmt: skip


def _record(record: Record) -> dict[str, Any]:
    values = {label: getattr(record, name) for label, name in SENML.items()}
    return {label: plain(value) for label, value in values.items() if value is not None}


def report(row: ReportRow) -> dict[str, Any]:
    """A raw report with its pack as SenML JSON (RFC 8428); data values are hexadecimal."""
    told = decode(Telemetry, unverified_payload(row.payload))
    return {
        "kind": "telemetry",
        "id": row.id,
        "connection": row.connection,
        "unit": row.unit,
        "received_s": row.received_s,
        "time_s": row.time_s,
        "senml": [_record(record) for record in told.pack],
    }


BODIES: dict[int, Any] = {
    Verb.INFER: InferReply,
    Verb.VERIFY: VerifyReply,
    Verb.LOGS: LogsReply,
    Verb.STATUS: StatusReply,
}


def answer(row: Question) -> dict[str, Any]:
    """A unit's answer; `body` as the verb has it, where the unit could answer."""
    is_ok = row.code == Code.OK and bool(row.body)
    return {
        "unit": f"{row.connection}/{row.unit}",
        "verb": name_of(Verb, row.verb),
        "code": name_of(Code, row.code or 0).upper(),
        "text": row.text,
        "round_trip_s": (row.answered_s or row.asked_s) - row.asked_s,
        "body": plain(decode(BODIES[row.verb], row.body)) if is_ok and row.body else None,
    }


def event(row: EventRow) -> dict[str, Any]:
    shown: dict[str, Any] = plain(row)
    return shown | {
        "kind": "event",
        "event": name_of(Kind, row.kind),
        "severity": name_of(Severity, row.severity),
        "code": name_of(Code, row.code).upper(),
        "fields": json.loads(row.fields),
    }


def audit_row(row: AuditRow) -> dict[str, Any]:
    shown: dict[str, Any] = plain(row)
    return shown | {"details": json.loads(row.details)}


def status(db: Database, settings: Settings, writer: Writer, now_s: float) -> dict[str, Any]:
    """Counts; what was not believed; whether the broker is there."""
    health: dict[str, int] = {}
    for facts in targets.facts(db):
        health[facts.health] = health.get(facts.health, 0) + 1
    dropped = {
        reason: {"count": count, "last_s": last_s, "last": text}
        for reason, count, last_s, text in events.dropped(db)
    }
    return {
        "organization": settings.organization,
        "now_s": now_s,
        "link_is_up": writer.is_link_up,
        "is_stopped": meta.get(db, "stop.is_stopped") == "1",
        "units": health,
        "open_rollouts": [row.id for row in kept.open_ones(db)],
        "winding_down": [row.id for row in kept.winding_down(db)],
        "outbox_due": outbox.due_count(db),
        "dropped": dropped,
        "notices": [plain(notice) for notice in kept.notices(db, 10)],
    }
