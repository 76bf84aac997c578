"""Rollouts, kept in the parts that the pure core hands out, and notices for people."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.errors import NotFoundError

from wherry_controller.store import rows


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """The columns that are searched; `is_open` until it ends, `is_winding_down` while it then
    still takes something back."""

    id: str
    model: str
    bundle_digest: bytes
    state: str
    is_open: int
    created_s: float
    updated_s: float
    is_winding_down: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that people were told; `topic` names one matter.

    `cause` is one of core/notify/causes.py; where it is left out it follows from the rollout.
    """

    id: int | None
    at_s: float
    severity: str
    topic: str
    rollout: str
    text: str
    cause: str = ""
    unit: str = ""
    model: str = ""
    is_recovery: int = 0  # the matter is over, or as good as


def add(db: Database, row: RolloutRow) -> None:
    rows.put(db, "rollouts", row)


def update(
    db: Database, rollout_id: str, state: str, now_s: float, *, is_open: bool, is_winding_down: bool
) -> None:
    db.execute(
        "UPDATE rollouts SET state = ?, is_open = ?, is_winding_down = ?, updated_s = ? "
        "WHERE id = ?",
        (state, int(is_open), int(is_winding_down), now_s, rollout_id),
    )


def put_parts(db: Database, rollout_id: str, parts: Mapping[str, str | None]) -> None:
    """Keep the parts that changed; None means that a part is gone."""
    gone = [(rollout_id, part) for part, document in parts.items() if document is None]
    if gone:
        sql = "DELETE FROM rollout_parts WHERE rollout = ? AND part = ?"
        rows.execute_all(db, sql, gone)
    rows.execute_all(
        db,
        "INSERT OR REPLACE INTO rollout_parts VALUES (?, ?, ?)",
        [(rollout_id, part, text) for part, text in parts.items() if text is not None],
    )


def parts(db: Database, rollout_id: str) -> dict[str, str]:
    sql = "SELECT part, document FROM rollout_parts WHERE rollout = ?"
    return dict(db.execute(sql, (rollout_id,)).fetchall())


def get(db: Database, rollout_id: str) -> RolloutRow:
    """Raises NotFoundError."""
    found = rows.one(db, RolloutRow, "rollouts", "WHERE id = ?", (rollout_id,))
    if found is None:
        raise NotFoundError(f"rollout {rollout_id!r} does not exist")
    return found


def everyone(db: Database, limit: int = 1000) -> list[RolloutRow]:
    """Newest first."""
    return rows.many(db, RolloutRow, "rollouts", "ORDER BY rowid DESC LIMIT ?", (limit,))


def newest_of(db: Database, digest: bytes) -> str | None:
    """The id of the newest rollout of a bundle."""
    sql = "SELECT id FROM rollouts WHERE bundle_digest = ? ORDER BY rowid DESC LIMIT 1"
    found = db.execute(sql, (digest,)).fetchone()
    return None if found is None else str(found[0])


def chunk_window(db: Database, connection: str, unit: str) -> int | None:
    """The smallest window that rollouts set for what the unit is still to answer; None: no one."""
    found = db.execute(
        "SELECT min(json_extract(p.document, '$.plan.chunk_window')) FROM assignments a "
        "JOIN rollout_parts p ON p.rollout = a.rollout AND p.part = 'plan' "
        "LEFT JOIN unit_models m ON m.connection = a.connection AND m.unit = a.unit "
        "AND m.model = a.model WHERE a.connection = ? AND a.unit = ? "
        "AND json_extract(p.document, '$.plan.chunk_window') > 0 "
        "AND (m.assignment_id IS NOT a.assignment_id OR m.outcome = 0)",
        (connection, unit),
    ).fetchone()
    return None if found is None else found[0]


def open_ones(db: Database) -> list[RolloutRow]:
    return rows.many(db, RolloutRow, "rollouts", "WHERE is_open = 1 ORDER BY created_s, id")


def winding_down(db: Database) -> list[RolloutRow]:
    """Those that have ended and still take something back."""
    tail = "WHERE is_winding_down = 1 ORDER BY created_s, id"
    return rows.many(db, RolloutRow, "rollouts", tail)


def put_notice(db: Database, row: Notice) -> None:
    rows.put(db, "notices", row)


def notices_of(db: Database, rollout: str) -> list[Notice]:
    """What people were told about a rollout, oldest first."""
    return rows.many(db, Notice, "notices", "WHERE rollout = ? ORDER BY id", (rollout,))


def notices(db: Database, limit: int) -> list[Notice]:
    """The newest ones, oldest first."""
    return rows.many(db, Notice, "notices", "ORDER BY id DESC LIMIT ?", (limit,))[::-1]


def notices_after(db: Database, notice_id: int, limit: int) -> list[Notice]:
    """The next `limit` of them, oldest first."""
    return rows.many(db, Notice, "notices", "WHERE id > ? ORDER BY id LIMIT ?", (notice_id, limit))


def prune_notices(db: Database, keep_count: int) -> None:
    db.execute("DELETE FROM notices WHERE id <= (SELECT max(id) FROM notices) - ?", (keep_count,))
