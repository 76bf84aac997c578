"""What people are to be told, until it has arrived or was given up; and every attempt at it."""

from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.errors import NotFoundError

from wherry_controller.core.notify import Outcome
from wherry_controller.store import rows

WAITING = Outcome.WAITING.value


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for one route. `payload` is JSON, as it was when the matter arose."""

    id: int | None
    route: str
    kind: str
    alert: int | None
    rollout: str
    payload: str
    state: str
    attempts: int
    queued_s: float
    due_s: float
    ended_s: float | None = None
    text: str = ""  # of the last attempt


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """`is_delivered` is None while it is under way, or when the process ended meanwhile."""

    delivery: int
    number: int
    at_s: float
    ended_s: float | None = None
    is_delivered: int | None = None
    text: str = ""


def put(db: Database, row: Delivery) -> None:
    rows.put(db, "deliveries", row)


def put_attempt(db: Database, row: AttemptRow) -> None:
    rows.put(db, "attempts", row)


def get(db: Database, delivery_id: int) -> Delivery:
    """Raises NotFoundError."""
    found = rows.one(db, Delivery, "deliveries", "WHERE id = ?", (delivery_id,))
    if found is None:
        raise NotFoundError(f"delivery {delivery_id} does not exist")
    return found


def attempts_of(db: Database, delivery_id: int) -> list[AttemptRow]:
    return rows.many(
        db, AttemptRow, "attempts", "WHERE delivery = ? ORDER BY number", (delivery_id,)
    )


def newest(
    db: Database, limit: int, *, state: str | None = None, alert: int | None = None
) -> list[Delivery]:
    """Newest first; None: any."""
    where = "WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR alert = ?2)"
    tail = f"{where} ORDER BY id DESC LIMIT ?3"
    return rows.many(db, Delivery, "deliveries", tail, (state, alert, limit))


def waiting_count(db: Database, route: str) -> int:
    sql = "SELECT count(*) FROM deliveries WHERE state = 'waiting' AND route = ?"
    return int(rows.scalar(db, sql, (route,)))


def routes_due(db: Database, now_s: float) -> list[str]:
    """The routes that have something to deliver now."""
    sql = "SELECT DISTINCT route FROM deliveries WHERE state = 'waiting' AND due_s <= ?"
    return [route for (route,) in db.execute(sql, (now_s,)).fetchall()]


def next_due(db: Database, route: str, now_s: float) -> Delivery | None:
    """The oldest message for that route whose time has come."""
    where = "WHERE state = 'waiting' AND route = ? AND due_s <= ? ORDER BY id"
    return rows.one(db, Delivery, "deliveries", where, (route, now_s))


def is_delivered(db: Database, kind: str, rollout: str) -> bool | None:
    """Whether every message of that kind about a rollout has arrived; None: nobody was to be told.

    For checklists: "was the team notified of the start?".
    """
    sql = (
        "SELECT count(*), coalesce(sum(state = 'delivered'), 0) FROM deliveries "
        "WHERE rollout = ? AND rollout <> '' AND kind = ?"
    )
    count, arrived = db.execute(sql, (rollout, kind)).fetchone()
    return None if count == 0 else count == arrived


def of_rollout(db: Database, rollout: str) -> list[Delivery]:
    where = "WHERE rollout = ? AND rollout <> '' ORDER BY id"
    return rows.many(db, Delivery, "deliveries", where, (rollout,))


def prune(db: Database, keep_count: int) -> None:
    """What arrived goes beyond the newest `keep_count`; what is dead stays as long."""
    db.execute(
        "DELETE FROM deliveries WHERE state <> 'waiting' "
        "AND id <= (SELECT max(id) FROM deliveries) - ?",
        (keep_count,),
    )
    db.execute("DELETE FROM attempts WHERE delivery NOT IN (SELECT id FROM deliveries)")
