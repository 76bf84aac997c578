"""Named operators, their role, and the hash of their token."""

from dataclasses import dataclass

from sqlite_utils import Database

from wherry_controller.store import rows


@dataclass(frozen=True, slots=True)
class Operator:
    name: str
    role: str
    token_hash: bytes
    created_s: float
    is_disabled: int = 0


def put(db: Database, operator: Operator) -> None:
    rows.put(db, "operators", operator)


def get(db: Database, name: str) -> Operator | None:
    return rows.one(db, Operator, "operators", "WHERE name = ?", (name,))


def by_token_hash(db: Database, token_hash: bytes) -> Operator | None:
    """The enabled operator with that token."""
    where = "WHERE token_hash = ? AND is_disabled = 0"
    return rows.one(db, Operator, "operators", where, (token_hash,))


def everyone(db: Database) -> list[Operator]:
    return rows.many(db, Operator, "operators", "ORDER BY name")
