"""Alerts: one row per matter and time that it stood; at most one of a matter is unresolved."""

from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.errors import NotFoundError

from wherry_controller.core.alerts import Alert, State
from wherry_controller.store import rows

UNRESOLVED = "state <> 'resolved'"


@dataclass(frozen=True, slots=True)
class Escalation:
    """From then on the next route is told, unless somebody acknowledged."""

    alert: int
    route: str
    due_s: float


def put(db: Database, alert: Alert) -> Alert:
    """Insert, or update in place; the alert with its id."""
    if alert.id is not None:
        rows.put(db, "alerts", alert)
        return alert
    rows.put(db, "alerts", alert)
    found = find_unresolved(db, alert.rollout, alert.topic)
    if found is None:
        raise RuntimeError(f"alert {alert.topic} was written and is not there")
    return found


def find_unresolved(db: Database, rollout: str, topic: str) -> Alert | None:
    where = f"WHERE rollout = ? AND topic = ? AND {UNRESOLVED}"
    return rows.one(db, Alert, "alerts", where, (rollout, topic))


def get(db: Database, alert_id: int) -> Alert:
    """Raises NotFoundError."""
    found = rows.one(db, Alert, "alerts", "WHERE id = ?", (alert_id,))
    if found is None:
        raise NotFoundError(f"alert {alert_id} does not exist")
    return found


def newest(db: Database, limit: int, state: str | None = None) -> list[Alert]:
    """Newest first; `state` None: in any state."""
    where, args = ("", []) if state is None else ("WHERE state = ? ", [state])
    return rows.many(db, Alert, "alerts", f"{where}ORDER BY id DESC LIMIT ?", [*args, limit])


def recovering(db: Database, good_before_s: float) -> list[Alert]:
    """Those that are not resolved and have been good since then or longer."""
    where = f"WHERE {UNRESOLVED} AND good_since_s <= ? ORDER BY id"
    return rows.many(db, Alert, "alerts", where, (good_before_s,))


def unresolved_below(db: Database, prefix: str) -> list[Alert]:
    """Those whose topic begins with that (which holds no wildcard)."""
    where = f"WHERE {UNRESOLVED} AND topic GLOB ? ORDER BY id"
    return rows.many(db, Alert, "alerts", where, (f"{prefix}*",))


def standing_of(db: Database, cause: str, since_s: float) -> list[Alert]:
    """Unresolved alerts of a cause that were first raised since then and have not recovered."""
    where = f"WHERE {UNRESOLVED} AND cause = ? AND first_s >= ? AND good_since_s IS NULL"
    return rows.many(db, Alert, "alerts", where, (cause, since_s))


def unresolved_of_rollout(db: Database, rollout: str) -> list[Alert]:
    where = f"WHERE {UNRESOLVED} AND rollout = ? ORDER BY id"
    return rows.many(db, Alert, "alerts", where, (rollout,))


def counts(db: Database) -> dict[str, int]:
    """How many are in each state."""
    sql = "SELECT state, count(*) FROM alerts GROUP BY state"
    found = {state.value: 0 for state in State}
    return found | dict(db.execute(sql).fetchall())


def put_escalation(db: Database, row: Escalation) -> None:
    rows.put(db, "escalations", row)


def escalations_due(db: Database, now_s: float) -> list[Escalation]:
    return rows.many(
        db, Escalation, "escalations", "WHERE due_s <= ? ORDER BY alert, route", (now_s,)
    )


def drop_escalations(db: Database, alert_id: int, route: str | None = None) -> None:
    """Nobody else has to be told; of one route, or of all."""
    where, args = ("", ()) if route is None else (" AND route = ?", (route,))
    db.execute(f"DELETE FROM escalations WHERE alert = ?{where}", (alert_id, *args))


def prune(db: Database, keep_count: int) -> None:
    """Resolved alerts beyond the newest `keep_count` go."""
    db.execute(
        "DELETE FROM alerts WHERE state = 'resolved' AND id <= (SELECT max(id) FROM alerts) - ?",
        (keep_count,),
    )
