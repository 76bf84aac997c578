"""The standing guard's memory, one row per unit and model."""

from collections.abc import Iterable, Sequence

from sqlite_utils import Database

from wherry_controller.core.guard.keeping import KeptWatch
from wherry_controller.store import rows

SILENCE = "silence"  # in `levels` where it was told already


def of_connections(db: Database, connections: Iterable[str]) -> list[KeptWatch]:
    return rows.among(db, KeptWatch, "guard", "connection", connections)


def put_all(db: Database, found: Sequence[KeptWatch]) -> None:
    rows.put_all(db, "guard", found)


def in_trouble(db: Database, model: str) -> list[KeptWatch]:
    """Units of which some figure is not within its limits."""
    return rows.many(db, KeptWatch, "guard", "WHERE model = ? AND levels <> ''", (model,))


def newly_silent(db: Database, heard_before_link_s: float) -> list[KeptWatch]:
    """Who was heard last before that, on the link's clock, and is not known to be silent."""
    where = "WHERE heard_link_s <= ? AND instr(levels, ?) = 0 ORDER BY connection, unit, model"
    return rows.many(db, KeptWatch, "guard", where, (heard_before_link_s, SILENCE))
