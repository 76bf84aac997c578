"""From SQL rows to frozen dataclasses: a dataclass's fields are the columns it is read from."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, TypeVar

from sqlite_utils import Database

T = TypeVar("T")


_COLUMNS: dict[Any, str] = {}
_INSERTIONS: dict[tuple[str, Any], tuple[str, Callable[[Any], tuple[Any, ...]]]] = {}


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


def among(db: Database, cls: type[T], table: str, column: str, values: Iterable[str]) -> list[T]:
    """The rows whose `column` is one of `values`, in one statement."""
    wanted = sorted(values)
    if not wanted:
        return []
    where = f"WHERE {column} IN (SELECT value FROM json_each(?))"
    return many(db, cls, table, where, (json.dumps(wanted),))


def put(db: Database, table: str, row: Any) -> None:
    """Insert a dataclass's fields, or replace the row with the same primary key."""
    put_all(db, table, [row])


def put_all(db: Database, table: str, rows: Sequence[Any]) -> None:
    """`put` for several rows of one class, as one statement."""
    if rows:
        sql, values = _insertion(table, type(rows[0]))
        execute_all(db, sql, map(values, rows))


def _insertion(table: str, cls: Any) -> tuple[str, Callable[[Any], tuple[Any, ...]]]:
    """The statement that puts one such row, and what takes its values out of a dataclass."""
    found = _INSERTIONS.get((table, cls))
    if found is None:
        names = [field.name for field in dataclasses.fields(cls)]
        places = ", ".join("?" * len(names))
        sql = f"INSERT OR REPLACE INTO {table} ({columns(cls)}) VALUES ({places})"
        found = _INSERTIONS[table, cls] = sql, attrgetter(*names)
    return found


def execute_all(db: Database, sql: str, args: Iterable[Sequence[Any]]) -> None:
    """One statement for each of these arguments."""
    db.conn.executemany(sql, args)


def scalar(db: Database, sql: str, args: Sequence[Any] = ()) -> Any:
    """The first column of the first row, or None."""
    row = db.execute(sql, args).fetchone()
    return None if row is None else row[0]
