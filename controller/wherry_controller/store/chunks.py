"""Which chunks are retained on the broker, since when, and until when."""

from sqlite_utils import Database


def published_indices(db: Database, digest: bytes) -> set[int]:
    found = db.execute("SELECT chunk_index FROM chunks WHERE digest = ?", (digest,)).fetchall()
    return {index for (index,) in found}


def put(db: Database, digest: bytes, index: int, now_s: float, expires_s: float) -> None:
    db.execute(
        "INSERT INTO chunks VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "requested_s = excluded.requested_s, expires_s = max(expires_s, excluded.expires_s)",
        (digest, index, now_s, expires_s),
    )


def requested_s(db: Database, digest: bytes, index: int) -> float | None:
    """When it was last published on request, or None if it is not published."""
    row = db.execute(
        "SELECT requested_s FROM chunks WHERE digest = ? AND chunk_index = ?", (digest, index)
    ).fetchone()
    return None if row is None else float(row[0])


def keep_until(db: Database, digest: bytes, expires_s: float) -> None:
    db.execute(
        "UPDATE chunks SET expires_s = max(expires_s, ?) WHERE digest = ?", (expires_s, digest)
    )


def expired(db: Database, now_s: float, limit: int) -> list[tuple[bytes, int]]:
    tail = "WHERE expires_s <= ? ORDER BY expires_s LIMIT ?"
    return db.execute(f"SELECT digest, chunk_index FROM chunks {tail}", (now_s, limit)).fetchall()


def delete(db: Database, digest: bytes, index: int) -> None:
    db.execute("DELETE FROM chunks WHERE digest = ? AND chunk_index = ?", (digest, index))
