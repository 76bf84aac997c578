"""The audit log: rows that are only ever added, each holding the hash of the one before."""

import json
from collections.abc import Iterator
from typing import Any

from sqlite_utils import Database

from wherry_controller.core.audit_chain import GENESIS, AuditRow, link
from wherry_controller.store import rows


def add(
    db: Database,
    now_s: float,
    who: str,
    action: str,
    subject: str,
    reason: str = "",
    details: dict[str, Any] | None = None,
) -> AuditRow:
    """Append one row; it commits with the change that it tells of."""
    last = rows.one(db, AuditRow, "audit", "ORDER BY id DESC")
    text = json.dumps(details or {}, sort_keys=True, separators=(",", ":"))
    row_id, previous = (1, GENESIS) if last is None else (last.id + 1, last.hash)
    row = link(AuditRow(row_id, now_s, who, action, subject, reason, text, previous, b""))
    rows.put(db, "audit", row)
    return row


def everything(db: Database) -> Iterator[AuditRow]:
    """All rows, oldest first, one at a time."""
    sql = f"SELECT {rows.columns(AuditRow)} FROM audit ORDER BY id"
    for values in db.execute(sql):
        yield AuditRow(*values)


def after(db: Database, row_id: int, limit: int) -> list[AuditRow]:
    """The next `limit` rows, oldest first."""
    return rows.many(db, AuditRow, "audit", "WHERE id > ? ORDER BY id LIMIT ?", (row_id, limit))


def newest(db: Database, limit: int, *, subject: str | None = None) -> list[AuditRow]:
    """At most `limit` newest rows, oldest first."""
    where, args = ("", []) if subject is None else ("WHERE subject = ? ", [subject])
    found = rows.many(db, AuditRow, "audit", f"{where}ORDER BY id DESC LIMIT ?", [*args, limit])
    return found[::-1]
