"""The summary of each rollout that has ended, as it was sent."""

from dataclasses import dataclass

from sqlite_utils import Database

from wherry_controller.store import rows


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """`digest` is the SHA-256 of the Markdown; the text is empty for what ended before there were
    summaries."""

    rollout: str
    made_s: float
    digest: bytes
    markdown: str


def put(db: Database, row: SummaryRow) -> None:
    rows.put(db, "summaries", row)


def find(db: Database, rollout: str) -> SummaryRow | None:
    return rows.one(db, SummaryRow, "summaries", "WHERE rollout = ?", (rollout,))


def lacking(db: Database, limit: int) -> list[str]:
    """Rollouts that have ended and have none, oldest first."""
    sql = (
        "SELECT id FROM rollouts WHERE is_open = 0 AND is_winding_down = 0 "
        "AND id NOT IN (SELECT rollout FROM summaries) ORDER BY updated_s, id LIMIT ?"
    )
    return [str(rollout) for (rollout,) in db.execute(sql, (limit,)).fetchall()]
