"""How shadows came out: by the bundle that was tried, and the one that served beside it."""

from dataclasses import dataclass

from sqlite_utils import Database

from wherry_controller.store import rows


@dataclass(frozen=True, slots=True)
class ShadowRow:
    """One shadow rollout beside one primary; it passed or failed, or it is not kept."""

    id: int | None
    rollout: str
    digest: bytes
    primary_digest: bytes
    is_passed: int
    text: str
    ended_s: float


def put(db: Database, row: ShadowRow) -> None:
    rows.put(db, "shadows", row)


def newest_of(db: Database, digest: bytes) -> list[ShadowRow]:
    """The newest of each pair with this bundle."""
    where = (
        "WHERE id IN (SELECT max(id) FROM shadows WHERE digest = ? GROUP BY primary_digest) "
        "ORDER BY id"
    )
    return rows.many(db, ShadowRow, "shadows", where, (digest,))
