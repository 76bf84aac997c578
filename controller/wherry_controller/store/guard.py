"""The standing guard's memory, one JSON document per unit and model."""

from sqlite_utils import Database

from wherry_controller.store.rows import scalar


def find(db: Database, connection: str, unit: str, model: str) -> str | None:
    sql = "SELECT document FROM guard WHERE connection = ? AND unit = ? AND model = ?"
    found: str | None = scalar(db, sql, (connection, unit, model))
    return found


def put(db: Database, connection: str, unit: str, model: str, document: str) -> None:
    db.execute(
        "INSERT OR REPLACE INTO guard VALUES (?, ?, ?, ?)", (connection, unit, model, document)
    )


def everyone(db: Database) -> list[tuple[str, str, str]]:
    return db.execute("SELECT connection, unit, model FROM guard").fetchall()
