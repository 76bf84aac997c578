"""The inspector: once a day the whole database is read and checked, beside the writer."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wherry_controller.fleet import Organization, escalating
from wherry_controller.store import open_reader
from wherry_controller.store.rows import scalar

LOG = logging.getLogger(__name__)
INSPECT_S: Final = 86_400.0
FIRST_S: Final = 60.0  # after the start, so that the service is up first
INTACT: Final = "ok"


def finding(database: Path) -> str:
    """What SQLite says of its own file: `ok`, or what is wrong first."""
    try:
        db = open_reader(database)
        try:
            return str(scalar(db, "PRAGMA quick_check(1)"))
        finally:
            db.close()
    except sqlite3.DatabaseError as error:
        return str(error)


@dataclass(slots=True)
class Inspector:
    """`start` it beside the writer; `submit` runs a command on the writer's thread."""

    database: Path
    submit: "Callable[[Callable[[Organization], None]], Future[None]]"
    clock: Callable[[], float]
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="inspector", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> str:
        """Check once; a damaged database is told and halts what spreads."""
        found = finding(self.database)
        if found != INTACT:
            LOG.critical("the database is damaged: %s", found)
            now_s = self.clock()
            self.submit(lambda org: escalating.database_damaged(org, found, now_s)).result()
        return found

    def _run(self) -> None:
        wait_s = FIRST_S
        while not self._stopping.wait(wait_s):
            wait_s = INSPECT_S
            try:
                self.look()
            except Exception:
                LOG.exception("the inspector made a mistake; it comes again tomorrow")
