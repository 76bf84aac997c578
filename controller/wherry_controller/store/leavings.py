"""Blobs that no bundle has any more, whose files are still to be taken out of the vault."""

from sqlite_utils import Database


def put(db: Database, digest: bytes, now_s: float) -> None:
    db.execute("INSERT OR REPLACE INTO leavings VALUES (?, ?)", (digest, now_s))


def everyone(db: Database) -> list[bytes]:
    found = db.execute("SELECT digest FROM leavings ORDER BY digest").fetchall()
    return [digest for (digest,) in found]


def delete(db: Database, digest: bytes) -> None:
    db.execute("DELETE FROM leavings WHERE digest = ?", (digest,))
