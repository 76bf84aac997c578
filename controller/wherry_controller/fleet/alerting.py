"""Notices become alerts; alerts, and what happens to rollouts, become messages for people.

Rules:
1. Whoever has something to tell writes a notice, and every change is in the audit log. Both are
   read here above a mark, and the mark moves in the transaction that keeps what follows: each
   row counts once, whenever the process dies.
2. A notice of severity warning or above raises its matter's alert; one that says that the matter
   is over begins its recovery (core/alerts).
3. What is told to whom is decided when it arises and kept as a delivery; the courier brings it
   outside of any transaction (notify/courier.py).
4. An alert that nobody acknowledges in time goes to the next route of the chain.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from sqlite_utils import Database
from wherry_protocol.errors import StateError

from wherry_controller.core import alerts as core
from wherry_controller.core.alerts import Alert, State
from wherry_controller.core.audit_chain import AuditRow
from wherry_controller.core.notify import HOOKS, Cause, Kind, Matter, Route, cause_of, chosen, rank
from wherry_controller.fleet import afterwatch, escalating, guarding, verifying
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import alerts, audit, deliveries, meta
from wherry_controller.store import rollouts as notes
from wherry_controller.store.alerts import Escalation
from wherry_controller.store.deliveries import Delivery
from wherry_controller.store.rollouts import Notice

NOTICE_MARK: Final = "alerts.notice_id"
SELF_TEST: Final = "alerts.self_test"
AUDIT_MARK: Final = "alerts.audit_id"
TAKEN_MAX: Final = 500  # rows looked at per tick
WAITING_MAX: Final = 1000  # messages that wait for one route; more are dead at once
ALERTING: Final = rank("warning")
GRAVE: Final = frozenset((Kind.STOP, Kind.ISOLATED, Kind.DECLARED))
OVER: Final = frozenset(("rollout.resume", "rollout.finished"))


def tick(org: Organization, now_s: float) -> None:
    """Take in what was noticed and done; let alerts recover and escalate."""
    take_notices(org, now_s)
    _take_audit(org, now_s)
    for alert in alerts.recovering(org.db, now_s - org.alerts.recovery_s):
        _step(org, alert, core.TimePassed(now_s, org.alerts.recovery_s), now_s)
    for due in alerts.escalations_due(org.db, now_s):
        _escalate(org, due, now_s)


def take_notices(org: Organization, now_s: float) -> None:
    """Raise, count and recover alerts by the notices above the mark."""
    mark = int(meta.get(org.db, NOTICE_MARK, "0"))
    found = notes.notices_after(org.db, mark, TAKEN_MAX)
    for notice in found:
        _take(org, notice, now_s)
    if found:
        meta.put(org.db, NOTICE_MARK, str(found[-1].id))


def _take(org: Organization, notice: Notice, now_s: float) -> None:
    standing = alerts.find_unresolved(org.db, notice.rollout, notice.topic)
    if notice.is_recovery:
        if standing is not None:
            _step(org, standing, core.Recovered(notice.at_s), now_s)
    elif rank(notice.severity) >= ALERTING:
        if standing is None:
            _raise(org, notice, now_s)
        else:
            told = core.Breached(notice.severity, notice.text, notice.at_s)
            _step(org, standing, told, now_s)


def _raise(org: Organization, notice: Notice, now_s: float) -> None:
    alert, kind = core.first(
        Alert(
            None,
            notice.rollout,
            notice.topic,
            cause_of(notice.cause, notice.rollout, notice.topic),
            notice.severity,
            State.OPEN.value,
            notice.unit,
            notice.model,
            notice.text,
            1,
            notice.at_s,
            notice.at_s,
        )
    )
    _keep(org, alert, kind, now_s)


def _step(org: Organization, alert: Alert, event: core.Event, now_s: float) -> Alert:
    after, kind = core.step(alert, event)
    return alert if after == alert else _keep(org, after, kind, now_s)


def _keep(org: Organization, alert: Alert, kind: Kind | None, now_s: float) -> Alert:
    kept = alerts.put(org.db, alert)
    if kept.state != State.OPEN.value:
        alerts.drop_escalations(org.db, kept.id or 0)
    if kind is not None:
        matter = Matter(kind.value, kept.severity, kept.cause)
        _tell_of(org, kept, kind, chosen(org.routes, matter), now_s)
    return kept


def _tell_of(
    org: Organization, alert: Alert, kind: Kind, routes: Iterable[Route], now_s: float
) -> None:
    """Queue the message; where nobody acknowledges it in time, the next route hears of it."""
    shown = asdict(alert)
    for route in routes:
        body = {"severity": alert.severity, "cause": alert.cause, "text": alert.text,
                "alert": shown}  # fmt: skip
        queue(org, route, kind, body, now_s, alert=alert.id, rollout=alert.rollout)
        is_waiting_for_somebody = alert.state == State.OPEN.value and alert.id is not None
        if route.escalate_to and is_waiting_for_somebody and alert.id is not None:
            due_s = now_s + route.escalate_after_s
            alerts.put_escalation(org.db, Escalation(alert.id, route.escalate_to, due_s))


def _escalate(org: Organization, due: Escalation, now_s: float) -> None:
    alerts.drop_escalations(org.db, due.alert, due.route)
    alert = alerts.get(org.db, due.alert)
    routes = [route for route in org.routes if route.name == due.route]
    if alert.state == State.OPEN.value:
        _tell_of(org, alert, Kind.ESCALATED, routes, now_s)
        org.record(now_s, core.SYSTEM, "alert.escalate", str(alert.id), alert.text, route=due.route)


def queue(
    org: Organization,
    route: Route,
    kind: Kind,
    body: dict[str, Any],
    now_s: float,
    *,
    alert: int | None = None,
    rollout: str = "",
) -> None:
    """Keep a message for a route until it has arrived or is given up."""
    head = {"kind": kind.value, "organization": org.name, "contact": route.contact, "at_s": now_s}
    payload = json.dumps(head | {"rollout": rollout} | body, sort_keys=True)
    row = Delivery(
        None, route.name, kind.value, alert, rollout, payload, deliveries.WAITING, 0, now_s, now_s
    )
    if deliveries.waiting_count(org.db, route.name) >= WAITING_MAX:
        row = Delivery(
            None, route.name, kind.value, alert, rollout, payload, "dead", 0, now_s, now_s, now_s,
            f"{WAITING_MAX} messages wait for this route already",
        )  # fmt: skip
    deliveries.put(org.db, row)


def _take_audit(org: Organization, now_s: float) -> None:
    """Tell of what happens to rollouts, and end the alerts of those that go on or ended."""
    mark = int(meta.get(org.db, AUDIT_MARK, "0"))
    found = audit.after(org.db, mark, TAKEN_MAX)
    for row in found:
        kind = HOOKS.get(row.action)
        if kind is not None:
            _tell_what_happened(org, row, kind, now_s)
        if row.action == "rollout.finished":
            report = json.loads(row.details).get("report", {})
            afterwatch.rollout_finished(org, row.subject, row.reason, now_s)
            escalating.rollout_finished(org, row.subject, report, now_s)
            verifying.rollout_finished(org, row.subject, row.reason, now_s)
        if row.action in OVER:
            _is_over(org, row.subject, now_s)
    if found:
        meta.put(org.db, AUDIT_MARK, str(found[-1].id))


def _tell_what_happened(org: Organization, row: AuditRow, kind: Kind, now_s: float) -> None:
    rollout = row.subject if kind.value.startswith("rollout.") else ""
    who = {"who": row.who, "subject": row.subject, "reason": row.reason}
    text = f"{row.subject}: {kind.value.partition('.')[2]} by {row.who}"
    body = {"text": f"{text} ({row.reason})" if row.reason else text,
            "details": json.loads(row.details)} | who  # fmt: skip
    severity = "critical" if kind in GRAVE else "info"
    for route in chosen(org.routes, Matter(kind.value, severity, Cause.ROLLOUT.value)):
        queue(org, route, kind, body | {"severity": severity}, now_s, rollout=rollout)


def _is_over(org: Organization, rollout: str, now_s: float) -> None:
    """Its warnings have recovered; what is critical stays for a person to close."""
    for alert in alerts.unresolved_of_rollout(org.db, rollout):
        if rank(alert.severity) <= ALERTING:
            _step(org, alert, core.Recovered(now_s), now_s)


def acknowledge(org: Organization, alert_id: int, who: str, reason: str, now_s: float) -> Alert:
    """Somebody is at it. Raises NotFoundError, StateError."""
    alert = alerts.get(org.db, alert_id)
    after = _step(org, alert, core.Acknowledge(who, reason, now_s), now_s)
    org.record(now_s, who, "alert.acknowledge", str(alert_id), reason, topic=alert.topic)
    return after


def close(org: Organization, alert_id: int, who: str, reason: str, now_s: float) -> Alert:
    """An operator says that it is over. Raises NotFoundError, StateError."""
    alert = alerts.get(org.db, alert_id)
    after = _step(org, alert, core.Close(who, reason, now_s), now_s)
    org.record(now_s, who, "alert.resolve", str(alert_id), reason, topic=alert.topic)
    return after


def self_test(org: Organization, who: str, now_s: float) -> int:
    """A breach that never was goes through guard, alert and routes, and recovers; its alert's id.

    Raises StateError where another self-test has not ended.
    """
    take_notices(org, now_s)  # whatever waits comes first, so that ours is taken next
    topic = guarding.exercise(org, now_s)
    take_notices(org, now_s)
    alert = alerts.find_unresolved(org.db, "", topic)
    if alert is None or alert.id is None:
        raise StateError("the guard raised no alert: the self-test failed")
    _step(org, alert, core.TimePassed(now_s, 0.0), now_s)
    tested = {"alert": alert.id, "at_s": alert.first_s, "has_arrived": False}
    meta.put(org.db, SELF_TEST, json.dumps(tested))
    org.record(now_s, who, "alerts.test", str(alert.id))
    return alert.id


def arrived(org: Organization, alert_id: int | None) -> None:
    """A message of an alert was delivered; if it is the self-test's last one, that has passed.

    What it found is kept by itself: its alert and its messages may be pruned.
    """
    tested = json.loads(meta.get(org.db, SELF_TEST, "{}"))
    if alert_id is not None and tested.get("alert") == alert_id:
        told = deliveries.newest(org.db, TAKEN_MAX, alert=alert_id)
        tested["has_arrived"] = all(row.state == "delivered" for row in told)
        meta.put(org.db, SELF_TEST, json.dumps(tested))


def last_self_test(db: Database) -> tuple[float, bool] | None:
    """(when, whether everything arrived) of the newest self-test; None: there was none."""
    tested = json.loads(meta.get(db, SELF_TEST, "{}"))
    return (tested["at_s"], tested["has_arrived"]) if tested else None
