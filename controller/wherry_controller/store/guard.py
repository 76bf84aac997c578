"""The standing guard's memory, one JSON document per unit and model."""

from collections.abc import Iterable

from sqlite_utils import Database

from wherry_controller.store.rows import execute_all, scalar


def find(db: Database, connection: str, unit: str, model: str) -> str | None:
    sql = "SELECT document FROM guard WHERE connection = ? AND unit = ? AND model = ?"
    found: str | None = scalar(db, sql, (connection, unit, model))
    return found


def put_all(db: Database, found: Iterable[tuple[str, str, str, str]]) -> None:
    """(connection, unit, model, JSON) of each."""
    execute_all(db, "INSERT OR REPLACE INTO guard VALUES (?, ?, ?, ?)", found)


def everyone(db: Database) -> list[tuple[str, str, str]]:
    return db.execute("SELECT connection, unit, model FROM guard").fetchall()
