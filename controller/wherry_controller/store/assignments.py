"""What each unit shall run for each model, and which bundles failed on which unit."""

from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.frozen import quick

from wherry_controller.store import rows


@quick
@dataclass(frozen=True, slots=True)
class AssignmentRow:
    """`document` is the encoded Assignment; `owner` says by what right it was made."""

    connection: str
    unit: str
    model: str
    assignment_id: bytes
    bundle_digest: bytes
    document: bytes
    owner: str
    rollout: str
    attempt: int
    assigned_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A bundle that a unit rejected or reverted; it is not offered there again by itself."""

    connection: str
    unit: str
    bundle_digest: bytes
    code: int
    reason: str
    failed_s: float


def put(db: Database, row: AssignmentRow) -> None:
    rows.put(db, "assignments", row)


def find(db: Database, connection: str, unit: str, model: str) -> AssignmentRow | None:
    where = "WHERE connection = ? AND unit = ? AND model = ?"
    return rows.one(db, AssignmentRow, "assignments", where, (connection, unit, model))


def of_unit(db: Database, connection: str, unit: str) -> list[AssignmentRow]:
    tail = "WHERE connection = ? AND unit = ? ORDER BY model"
    return rows.many(db, AssignmentRow, "assignments", tail, (connection, unit))


def unconverged_bundles(db: Database) -> list[bytes]:
    """Bundles that some unit is assigned and does not yet run or keep ready."""
    found = db.execute(
        "SELECT DISTINCT a.bundle_digest FROM assignments a LEFT JOIN unit_models m "
        "ON m.connection = a.connection AND m.unit = a.unit AND m.model = a.model "
        "WHERE m.model IS NULL OR m.assignment_id IS NOT a.assignment_id OR m.outcome = 0"
    ).fetchall()
    return [digest for (digest,) in found]


def put_failure(db: Database, row: Failure) -> None:
    rows.put(db, "failures", row)


def failure(db: Database, connection: str, unit: str, digest: bytes) -> Failure | None:
    where = "WHERE connection = ? AND unit = ? AND bundle_digest = ?"
    return rows.one(db, Failure, "failures", where, (connection, unit, digest))


def forgive(db: Database, connection: str, unit: str, digest: bytes) -> None:
    """Forget a failure: an operator asked for a second try."""
    db.execute(
        "DELETE FROM failures WHERE connection = ? AND unit = ? AND bundle_digest = ?",
        (connection, unit, digest),
    )


def delete(db: Database, connection: str, unit: str, model: str) -> None:
    db.execute(
        "DELETE FROM assignments WHERE connection = ? AND unit = ? AND model = ?",
        (connection, unit, model),
    )
