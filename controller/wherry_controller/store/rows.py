"""From SQL rows to frozen dataclasses: a dataclass's fields are the columns it is read from."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from sqlite_utils import Database

T = TypeVar("T")


_COLUMNS: dict[Any, str] = {}


def columns(cls: Any) -> str:
    """The column list of a dataclass, in field order."""
    found = _COLUMNS.get(cls)
    if found is None:
        found = _COLUMNS[cls] = ", ".join(field.name for field in dataclasses.fields(cls))
    return found


def many(
    db: Database, cls: type[T], table: str, tail: str = "", args: Sequence[Any] = ()
) -> list[T]:
    """All rows of `SELECT fields FROM table tail`."""
    sql = f"SELECT {columns(cls)} FROM {table} {tail}"
    return [cls(*row) for row in db.execute(sql, args).fetchall()]


def one(
    db: Database, cls: type[T], table: str, tail: str = "", args: Sequence[Any] = ()
) -> T | None:
    """The first of these rows, or None."""
    row = db.execute(f"SELECT {columns(cls)} FROM {table} {tail} LIMIT 1", args).fetchone()
    return None if row is None else cls(*row)


def put(db: Database, table: str, row: Any) -> None:
    """Insert a dataclass's fields, or replace the row with the same primary key."""
    names = columns(type(row))
    places = ", ".join("?" for _ in dataclasses.fields(row))
    values = [getattr(row, field.name) for field in dataclasses.fields(row)]
    db.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({places})", values)


def scalar(db: Database, sql: str, args: Sequence[Any] = ()) -> Any:
    """The first column of the first row, or None."""
    row = db.execute(sql, args).fetchone()
    return None if row is None else row[0]
