"""Open the database: one connection per thread, one writer per file.

WAL lets readers go on while the one writer commits; synchronous=FULL makes a commit durable
before anything is acknowledged to a device.
"""

import sqlite3
from pathlib import Path

from sqlite_utils import Database

from wherry_controller.store.schema import migrate

BUSY_TIMEOUT_MS = 5_000
STATEMENTS_MAX = 1_000  # kept compiled: sqlite3 keeps 128, and the store knows twice as many


def open_writer(path: Path | None) -> Database:
    """The writing connection, migrated to this version's schema; None is a database in memory.

    Raises StateError where the file was written by a newer Wherry.
    """
    db = Database(sqlite3.connect(path or ":memory:", cached_statements=STATEMENTS_MAX))
    if path is not None:
        path.chmod(0o600)
        db.enable_wal()
    db.execute("PRAGMA synchronous = FULL")
    _prepare(db)
    migrate(db)
    return db


def open_reader(path: Path) -> Database:
    """A connection that cannot write to the file: what it notes in temporary tables is its own.

    Raises sqlite3.OperationalError where there is no file.
    """
    file = f"file:{path}?mode=ro"
    kept = sqlite3.connect(
        file, uri=True, check_same_thread=False, cached_statements=STATEMENTS_MAX
    )
    db = Database(kept)
    _prepare(db)
    return db


def _prepare(db: Database) -> None:
    db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    db.execute("PRAGMA foreign_keys = ON")
