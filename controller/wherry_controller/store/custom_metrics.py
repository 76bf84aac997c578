"""Figures that others pushed: who, when, what for. The newest ones, so many at most."""

from dataclasses import dataclass

from sqlite_utils import Database

from wherry_controller.store import rows

KEPT_MAX = 100_000


@dataclass(frozen=True, slots=True)
class CustomMetric:
    """One sample. `scope` is `unit`, `target`, `rollout` or `all`; `subject` says which."""

    id: int | None
    at_s: float
    name: str
    value: float
    scope: str
    subject: str
    pushed_by: str


def put(db: Database, row: CustomMetric) -> None:
    """Keep a sample; the oldest make room."""
    rows.put(db, "custom_metrics", row)
    db.execute(
        "DELETE FROM custom_metrics WHERE id <= (SELECT max(id) FROM custom_metrics) - ?",
        (KEPT_MAX,),
    )


def newest(db: Database, name: str | None, limit: int) -> list[CustomMetric]:
    """The newest ones, oldest first."""
    where = "" if name is None else "WHERE name = ? "
    found = rows.many(
        db,
        CustomMetric,
        "custom_metrics",
        f"{where}ORDER BY id DESC LIMIT ?",
        (limit,) if name is None else (name, limit),
    )
    return found[::-1]
