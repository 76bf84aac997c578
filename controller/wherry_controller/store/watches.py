"""Rollouts that are watched after their end, and reports of the fleet made on schedule."""

from dataclasses import dataclass

from sqlite_utils import Database

from wherry_controller.store import rows

REPORTS_KEEP = 400


@dataclass(frozen=True, slots=True)
class WatchRow:
    """`document` is JSON: the newest verdicts, and how often a metric was worse."""

    rollout: str
    began_s: float
    until_s: float
    looked_s: float
    state: str  # watching or ended
    document: str


def put(db: Database, row: WatchRow) -> None:
    rows.put(db, "watches", row)


def find(db: Database, rollout: str) -> WatchRow | None:
    return rows.one(db, WatchRow, "watches", "WHERE rollout = ?", (rollout,))


def due(db: Database, looked_before_s: float, now_s: float) -> list[WatchRow]:
    """Those that were last looked at before that, or are at their end."""
    where = "WHERE state = 'watching' AND (looked_s <= ? OR until_s <= ?) ORDER BY rollout"
    return rows.many(db, WatchRow, "watches", where, (looked_before_s, now_s))


def newest(db: Database, limit: int) -> list[WatchRow]:
    return rows.many(db, WatchRow, "watches", "ORDER BY began_s DESC LIMIT ?", (limit,))


def put_report(db: Database, at_s: float, document: str) -> None:
    db.execute("INSERT INTO fleet_reports (at_s, document) VALUES (?, ?)", (at_s, document))
    db.execute(
        "DELETE FROM fleet_reports WHERE id <= (SELECT max(id) FROM fleet_reports) - ?",
        (REPORTS_KEEP,),
    )


def last_report_s(db: Database) -> float | None:
    found: float | None = rows.scalar(db, "SELECT at_s FROM fleet_reports ORDER BY id DESC LIMIT 1")
    return found


def reports(db: Database, limit: int) -> list[tuple[float, str]]:
    """(at_s, JSON), newest first."""
    sql = "SELECT at_s, document FROM fleet_reports ORDER BY id DESC LIMIT ?"
    return db.execute(sql, (limit,)).fetchall()
