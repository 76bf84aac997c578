"""What holds before a rollout starts: its papers, and one question per fact over its units.

`select_units` names the units once, in a temporary table; each question then costs one statement,
however many they are.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from sqlite_utils import Database

from wherry_controller.store import rows
from wherry_controller.store.devices import NAMED

OF_SELECTED = "selected s JOIN units u ON u.connection = s.connection AND u.unit = s.unit"
SERVED = (
    "LEFT JOIN unit_models m ON m.connection = u.connection AND m.unit = u.unit AND m.model = ?"
)


@dataclass(frozen=True, slots=True)
class PapersRow:
    """A rollout's papers; `findings` is JSON, empty until it started."""

    rollout: str
    is_emergency: int
    findings: str = "[]"
    checked_s: float | None = None


@dataclass(frozen=True, slots=True)
class ServedGroup:
    """Units of one class that serve one bundle (None: nothing of the model)."""

    hardware_class: str
    digest: bytes | None
    version: str | None
    is_in_registry: int
    has_failed: int
    count: int
    example: str


def put_papers(db: Database, row: PapersRow) -> None:
    rows.put(db, "papers", row)


def papers(db: Database, rollout: str) -> PapersRow:
    """Those of the rollout, or empty ones."""
    found = rows.one(db, PapersRow, "papers", "WHERE rollout = ?", (rollout,))
    return found or PapersRow(rollout, 0)


def select_units(db: Database, units: Iterable[str]) -> None:
    """The units (`connection/unit`) that the next questions are about."""
    db.execute(
        "CREATE TEMP TABLE IF NOT EXISTS selected "
        "(connection TEXT, unit TEXT, PRIMARY KEY (connection, unit)) WITHOUT ROWID"
    )
    db.execute("DELETE FROM selected")
    db.execute(
        f"INSERT INTO selected SELECT s.connection, s.unit FROM {NAMED}",
        (json.dumps(list(units)),),
    )


def environments(db: Database) -> dict[str, int]:
    """The selected units by their label `env`; without the label it is empty."""
    found = db.execute(
        "SELECT coalesce(json_extract(c.labels, '$.env'), ''), count(*) "
        "FROM selected s JOIN connections c ON c.name = s.connection GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return {str(name): count for name, count in found}


def classes(db: Database) -> dict[str, int]:
    """The selected units by hardware class."""
    sql = f"SELECT u.hardware_class, count(*) FROM {OF_SELECTED} GROUP BY 1 ORDER BY 1"
    return dict(db.execute(sql).fetchall())


def served(db: Database, model: str) -> list[ServedGroup]:
    """What the selected units serve of the model, in groups."""
    found = db.execute(
        "SELECT u.hardware_class, m.active_digest, m.active_version, b.digest IS NOT NULL, "
        "f.bundle_digest IS NOT NULL, count(*), min(u.connection || '/' || u.unit) "
        f"FROM {OF_SELECTED} {SERVED} LEFT JOIN bundles b ON b.digest = m.active_digest "
        "LEFT JOIN failures f ON f.connection = u.connection AND f.unit = u.unit "
        "AND f.bundle_digest = m.active_digest GROUP BY 1, 2, 5 ORDER BY 1, 3",
        (model,),
    ).fetchall()
    return [ServedGroup(*row) for row in found]


def quiet(db: Database, now_s: float, least_s: float, reports: int) -> tuple[int, str]:
    """Selected units that missed so many reports in a row, and were silent for so long at least;
    one of them. As `core/guard/limits.py` counts it."""
    row = db.execute(
        f"SELECT count(*), coalesce(min(u.connection || '/' || u.unit), '') FROM {OF_SELECTED} "
        "WHERE u.seen_s IS NULL "
        "OR u.seen_s < ? - max(?, ? * min(u.performance_s, u.resources_s))",
        (now_s, least_s, reports),
    ).fetchone()
    return int(row[0]), str(row[1])
