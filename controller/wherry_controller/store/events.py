"""Events and log records of devices, and counts of what was not believed."""

from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.frozen import quick

from wherry_controller.store import rows


@quick
@dataclass(frozen=True, slots=True)
class EventRow:
    """`kind`, `severity` and `code` are wire values; `fields` is a JSON object."""

    id: int | None
    connection: str
    unit: str
    received_s: float
    time_s: int | None
    kind: int
    severity: int
    code: int
    text: str
    model: str | None
    digest: bytes | None
    suppressed: int
    fields: str


def put(db: Database, row: EventRow) -> None:
    rows.put(db, "events", row)


def newest(
    db: Database, *, after_id: int = 0, connection: str | None = None, limit: int = 100
) -> list[EventRow]:
    """At most `limit` events above `after_id`, the newest ones, oldest first."""
    where, args = "WHERE id > ?", [after_id]
    if connection is not None:
        where, args = f"{where} AND connection = ?", [*args, connection]  # type: ignore[list-item]
    found = rows.many(db, EventRow, "events", f"{where} ORDER BY id DESC LIMIT ?", [*args, limit])
    return found[::-1]


def prune(db: Database, keep_count: int) -> None:
    db.execute("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (keep_count,))


def count_dropped(db: Database, reason: str, text: str, now_s: float) -> None:
    """One more message was not believed; `reason` comes from a small fixed set."""
    db.execute(
        "INSERT INTO dropped VALUES (?, 1, ?, ?) ON CONFLICT DO UPDATE SET count = count + 1, "
        "last_s = excluded.last_s, last_text = excluded.last_text",
        (reason, now_s, text[:512]),
    )


def dropped(db: Database) -> list[tuple[str, int, float, str]]:
    return db.execute("SELECT * FROM dropped ORDER BY reason").fetchall()
