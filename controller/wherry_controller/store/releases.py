"""What each unit may unload for each model: the newest, until the model is assigned again."""

from dataclasses import dataclass

from sqlite_utils import Database

from wherry_controller.store import rows


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """`is_purged`: the unit may delete the bundle's bytes too."""

    connection: str
    unit: str
    model: str
    digest: bytes
    is_purged: int


def put(db: Database, row: ReleaseRow) -> None:
    rows.put(db, "releases", row)


def of_unit(db: Database, connection: str, unit: str) -> list[ReleaseRow]:
    tail = "WHERE connection = ? AND unit = ? ORDER BY model"
    return rows.many(db, ReleaseRow, "releases", tail, (connection, unit))


def delete(db: Database, connection: str, unit: str, model: str) -> None:
    db.execute(
        "DELETE FROM releases WHERE connection = ? AND unit = ? AND model = ?",
        (connection, unit, model),
    )
