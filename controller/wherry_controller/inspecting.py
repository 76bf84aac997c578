"""The inspector: what takes long to read is read beside the writer, on a connection of its own.

Once a day the whole database is checked; once an hour each rollout that has succeeded is compared
with its baseline; the summary of a rollout that has ended is made once, and the fleet's report on
schedule. Only what was found goes to the writer.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from wherry_controller.core.assurance.summary import summary_markdown
from wherry_controller.fleet import Organization, afterwatch, escalating, reporting
from wherry_controller.http import views_of_papers
from wherry_controller.settings import Settings
from wherry_controller.store import open_reader, summaries, watches
from wherry_controller.store.rows import scalar

LOG = logging.getLogger(__name__)
INSPECT_S: Final = 86_400.0
LOOK_S: Final = 60.0
SUMMARIES_MAX: Final = 20  # in one round
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
    """`start` it beside the writer, or call `round` where time does not pass by itself."""

    settings: Settings
    database: Path
    submit: "Callable[[Callable[[Organization], None]], Future[None]]"
    clock: Callable[[], float]
    _inspected_s: float | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="inspector", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            try:
                self.round()
            except Exception:
                LOG.exception("the inspector made a mistake; it comes again")

    def round(self) -> None:
        """Whatever is due."""
        now_s = self.clock()
        if self._inspected_s is None or not 0 <= now_s - self._inspected_s < INSPECT_S:
            self._inspected_s = now_s
            self.inspect()
        db = open_reader(self.database)
        try:
            self._watch(db, now_s)
            self._report(db, now_s)
            self._summarize(db, now_s)
        finally:
            db.close()

    def inspect(self) -> str:
        """Check the database; damage is told and halts what spreads."""
        found = finding(self.database)
        if found != INTACT:
            LOG.critical("the database is damaged: %s", found)
            now_s = self.clock()
            self.submit(lambda org: escalating.database_damaged(org, found, now_s)).result()
        return found

    def _watch(self, db: Database, now_s: float) -> None:
        for row in watches.due(db, now_s - afterwatch.LOOK_S, now_s):
            found = afterwatch.look(db, row, self.settings.fleet.window_s, now_s)
            self.submit(
                lambda org, r=row, f=found: afterwatch.take(org, r, f, now_s)  # type: ignore[misc]
            ).result()

    def _report(self, db: Database, now_s: float) -> None:
        if reporting.is_due(db, self.settings.alerts.report_s, now_s):
            report = reporting.fleet_report(db, self.settings.organization, now_s)
            self.submit(lambda org: reporting.keep(org, report, now_s)).result()

    def _summarize(self, db: Database, now_s: float) -> None:
        for rollout in summaries.lacking(db, SUMMARIES_MAX):
            text = summary_markdown(views_of_papers.report(db, rollout, now_s))
            self.submit(
                lambda org, r=rollout, t=text: reporting.keep_summary(org, r, t, now_s)  # type: ignore[misc]
            ).result()
