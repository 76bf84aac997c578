"""Open the database: one connection per thread, one writer per file.

WAL lets readers go on while the one writer commits; synchronous=FULL makes a commit durable
before anything is acknowledged to a device.
"""

import sqlite3
from pathlib import Path

from sqlite_utils import Database

from wherry_controller.store.schema import migrate

BUSY_TIMEOUT_MS = 5_000


def open_writer(path: Path | None) -> Database:
    """The writing connection, migrated to this version's schema; None is a database in memory.

    Raises StateError where the file was written by a newer Wherry.
    """
    db = Database(memory=True) if path is None else Database(path)
    if path is not None:
        path.chmod(0o600)
        db.enable_wal()
    db.execute("PRAGMA synchronous = FULL")
    _prepare(db)
    migrate(db)
    return db


def open_reader(path: Path) -> Database:
    """A connection that cannot write. Raises sqlite3.OperationalError where there is no file."""
    db = Database(sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False))
    _prepare(db)
    db.execute("PRAGMA query_only = ON")
    return db


def _prepare(db: Database) -> None:
    db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    db.execute("PRAGMA foreign_keys = ON")
