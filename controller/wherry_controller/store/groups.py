"""Groups of units: a name for a selector (dynamic) or for a list (static), and what they run."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.errors import NotFoundError

from wherry_controller.store import rows


@dataclass(frozen=True, slots=True)
class GroupRow:
    """`target` is the selector: asked again and again (dynamic), or as it was once (static)."""

    name: str
    target: str
    is_dynamic: int
    created_s: float
    created_by: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """A dynamic group runs this version of this model since that rollout succeeded."""

    name: str
    model: str
    rollout: str
    since_s: float


@dataclass(frozen=True, slots=True)
class OwedRow:
    """A unit of a dynamic group does not have what the group runs of this model.

    `tries`: how often a rollout to bring it that was refused; `is_told`: people know why it is
    not given it."""

    name: str
    model: str
    unit: str
    tries: int = 0
    is_told: int = 0


def put(db: Database, row: GroupRow) -> None:
    rows.put(db, "groups", row)


def find(db: Database, name: str) -> GroupRow | None:
    return rows.one(db, GroupRow, "groups", "WHERE name = ?", (name,))


def get(db: Database, name: str) -> GroupRow:
    """Raises NotFoundError."""
    found = find(db, name)
    if found is None:
        raise NotFoundError(f"group {name!r} does not exist; wherry group list shows them")
    return found


def everyone(db: Database) -> list[GroupRow]:
    return rows.many(db, GroupRow, "groups", "ORDER BY name")


def delete(db: Database, name: str) -> None:
    for table in ("groups", "group_units", "group_runs", "group_owed"):
        db.execute(f"DELETE FROM {table} WHERE name = ?", (name,))


def units(db: Database, name: str) -> set[str]:
    """The units (`connection/unit`) of a static group, or those known of a dynamic one."""
    found = db.execute("SELECT unit FROM group_units WHERE name = ?", (name,)).fetchall()
    return {unit for (unit,) in found}


def add_unit(db: Database, name: str, unit: str) -> None:
    db.execute("INSERT OR REPLACE INTO group_units (name, unit) VALUES (?, ?)", (name, unit))


def remove_unit(db: Database, name: str, unit: str) -> None:
    for table in ("group_units", "group_owed"):
        db.execute(f"DELETE FROM {table} WHERE name = ? AND unit = ?", (name, unit))


def put_run(db: Database, row: RunRow, has_it: Container[str]) -> None:
    """The group runs this from now on; it is owed to whoever of its units does not have it."""
    rows.put(db, "group_runs", row)
    db.execute("DELETE FROM group_owed WHERE name = ? AND model = ?", (row.name, row.model))
    others = sorted(unit for unit in units(db, row.name) if unit not in has_it)
    put_owed(db, [OwedRow(row.name, row.model, unit) for unit in others])


def runs(db: Database, name: str) -> list[RunRow]:
    return rows.many(db, RunRow, "group_runs", "WHERE name = ? ORDER BY model", (name,))


def put_owed(db: Database, owed: Sequence[OwedRow]) -> None:
    rows.put_all(db, "group_owed", owed)


def owed(db: Database, name: str, model: str) -> list[OwedRow]:
    """Whom it was tried with least often comes first."""
    tail = "WHERE name = ? AND model = ? ORDER BY tries, unit"
    return rows.many(db, OwedRow, "group_owed", tail, (name, model))


def settle(db: Database, name: str, model: str, units: Iterable[str]) -> None:
    """These have it, or it is on its way to them."""
    sql = "DELETE FROM group_owed WHERE name = ? AND model = ? AND unit = ?"
    rows.execute_all(db, sql, [(name, model, unit) for unit in units])
