"""What shall be on the broker: one row per topic, the newest payload only.

A row is due while `sent_version < version`; a PUBACK moves `sent_version`. A retained row stays,
so that a broker that forgot can be told again; any other row goes when it was sent. Chunks have
no payload here: they are made from the vault when they are due.
"""

from dataclasses import dataclass
from enum import IntEnum

from sqlite_utils import Database
from wherry_protocol.frozen import quick

from wherry_controller.store import rows


class Priority(IntEnum):
    """What goes first when much is due."""

    STOP = 0
    TRUST = 1
    DESIRED = 2
    CHUNK = 3


@quick
@dataclass(frozen=True, slots=True)
class OutboxRow:
    """`payload` is None for a chunk, empty to clear a retained message."""

    topic: str
    payload: bytes | None
    chunk_digest: bytes | None
    chunk_index: int | None
    is_retained: int
    version: int


def queue(
    db: Database,
    topic: str,
    payload: bytes,
    priority: Priority,
    now_s: float,
    *,
    is_retained: bool = True,
) -> None:
    """Publish `payload`; what was due on the topic before is superseded."""
    _queue(db, topic, (payload, None, None), is_retained, priority, now_s)


def queue_chunk(db: Database, topic: str, digest: bytes, index: int, now_s: float) -> None:
    _queue(db, topic, (None, digest, index), True, Priority.CHUNK, now_s)


def _queue(
    db: Database,
    topic: str,
    content: tuple[bytes | None, bytes | None, int | None],
    is_retained: bool,
    priority: Priority,
    now_s: float,
) -> None:
    db.execute(
        "INSERT INTO outbox (topic, payload, chunk_digest, chunk_index, is_retained, priority, "
        "version, queued_s) VALUES (?, ?, ?, ?, ?, ?, 1, ?) ON CONFLICT (topic) DO UPDATE SET "
        "payload = excluded.payload, chunk_digest = excluded.chunk_digest, "
        "chunk_index = excluded.chunk_index, version = version + 1, queued_s = excluded.queued_s",
        (topic, *content, int(is_retained), int(priority), now_s),
    )


def due(db: Database, limit: int) -> list[OutboxRow]:
    """What still has to be published, most urgent first."""
    tail = "WHERE sent_version < version ORDER BY priority, queued_s, topic LIMIT ?"
    return rows.many(db, OutboxRow, "outbox", tail, (limit,))


def due_count(db: Database) -> int:
    return int(rows.scalar(db, "SELECT count(*) FROM outbox WHERE sent_version < version"))


def mark_sent(db: Database, topic: str, version: int) -> None:
    """The broker has acknowledged that version; cleared and unretained topics are done."""
    db.execute(
        "UPDATE outbox SET sent_version = max(sent_version, ?) WHERE topic = ?", (version, topic)
    )
    db.execute(
        "DELETE FROM outbox WHERE topic = ? AND sent_version >= version "
        "AND (is_retained = 0 OR length(payload) = 0)",
        (topic,),
    )


def drop(db: Database, topic: str) -> None:
    """Take the row away, whatever the broker holds."""
    db.execute("DELETE FROM outbox WHERE topic = ?", (topic,))


def queue_retained_again(db: Database, since_s: float = 0.0) -> None:
    """The broker may have forgotten what was queued since then: it is due again.

    Chunks are not: whoever lacks one asks for it.
    """
    db.execute(
        "UPDATE outbox SET version = version + 1 "
        "WHERE is_retained = 1 AND chunk_digest IS NULL AND queued_s >= ?",
        (since_s,),
    )
