"""Baselines, which of them is applied, and every change of that."""

from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.errors import NotFoundError

from wherry_controller.store import rows


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """`document` is JSON (core/baselines/document.py)."""

    id: int | None
    name: str
    model: str
    major: int
    hardware_class: str
    document: str
    recorded_s: float
    recorded_by: str


@dataclass(frozen=True, slots=True)
class Change:
    """From then on that baseline held; None: none did. `version` rises by one each time."""

    model: str
    major: int
    hardware_class: str
    version: int
    baseline: int | None
    latency_us: float | None  # p95
    at_s: float
    who: str
    reason: str
    is_revert: int


Scope = tuple[str, int, str]  # model, major, hardware class
SCOPE = "model = ? AND major = ? AND hardware_class = ?"


def add(db: Database, row: BaselineRow) -> BaselineRow:
    """The row with its id."""
    rows.put(db, "baselines", row)
    return by_name(db, row.name)


def by_name(db: Database, name: str) -> BaselineRow:
    """Raises NotFoundError."""
    found = rows.one(db, BaselineRow, "baselines", "WHERE name = ?", (name,))
    if found is None:
        raise NotFoundError(f"baseline {name!r} does not exist; `wherry baseline list` shows them")
    return found


def by_id(db: Database, baseline_id: int) -> BaselineRow:
    """Raises NotFoundError."""
    found = rows.one(db, BaselineRow, "baselines", "WHERE id = ?", (baseline_id,))
    if found is None:
        raise NotFoundError(f"baseline {baseline_id} does not exist")
    return found


def everyone(db: Database, model: str | None = None) -> list[BaselineRow]:
    """Newest first."""
    where, args = ("", ()) if model is None else ("WHERE model = ? ", (model,))
    return rows.many(db, BaselineRow, "baselines", f"{where}ORDER BY id DESC", args)


def next_number(db: Database) -> int:
    return int(rows.scalar(db, "SELECT coalesce(max(id), 0) + 1 FROM baselines"))


def put_change(db: Database, row: Change) -> None:
    rows.put(db, "baseline_changes", row)


def changes(db: Database, scope: Scope) -> list[Change]:
    """Oldest first."""
    return rows.many(db, Change, "baseline_changes", f"WHERE {SCOPE} ORDER BY version", scope)


def current(db: Database, scope: Scope) -> Change | None:
    """What holds now; its `baseline` is None where a revert left none."""
    tail = f"WHERE {SCOPE} ORDER BY version DESC"
    return rows.one(db, Change, "baseline_changes", tail, scope)


def all_changes(db: Database) -> list[Change]:
    return rows.many(
        db, Change, "baseline_changes", "ORDER BY model, major, hardware_class, version"
    )
