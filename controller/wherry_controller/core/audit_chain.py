"""The audit log's hash chain: an edited, dropped or reordered row is found and named.

Rules:
1. A row's hash covers the hash before it and every column but itself.
2. Ids are consecutive from 1; the first row follows `GENESIS`.
3. Cutting rows off the end leaves a valid chain: `verify` returns the count and the last hash,
   to be compared with one noted elsewhere.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

GENESIS: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Who changed what, why, and with which details (a JSON object)."""

    id: int
    at_s: float
    who: str
    action: str
    subject: str
    reason: str
    details: str
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """`bad_id` is the first row that does not fit, None where the whole chain holds."""

    count: int
    last_hash: bytes
    bad_id: int | None = None
    problem: str = ""


def row_hash(row: AuditRow) -> bytes:
    fields = [row.id, row.at_s, row.who, row.action, row.subject, row.reason, row.details]
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=True)
    return sha256(row.previous_hash + text.encode()).digest()


def link(row: AuditRow) -> AuditRow:
    """The row with its hash."""
    return replace(row, hash=row_hash(row))


def verify(rows: Iterable[AuditRow]) -> Verdict:
    """Walk the chain from the first row."""
    count, last = 0, GENESIS
    for row in rows:
        problem = _problem(row, count + 1, last)
        if problem:
            return Verdict(count, last, row.id, problem)
        count, last = count + 1, row.hash
    return Verdict(count, last)


def _problem(row: AuditRow, expected_id: int, previous: bytes) -> str:
    if row.id != expected_id:
        return f"row {expected_id} is missing, row {row.id} stands in its place"
    if row.previous_hash != previous:
        return f"row {row.id} does not follow row {row.id - 1}"
    if row_hash(row) != row.hash:
        return f"row {row.id} was changed after it was written"
    return ""
