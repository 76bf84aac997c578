"""Where a controller's process can be stopped: before each durable thing that it does.

A durable thing is a commit that changes something, a message that the broker takes, or a change
to a file below its folder (seen by Python's audit events). What happens between two of them
leaves no trace, so stopping before each covers all. Or the disk is full just then (`full`).
"""

import errno
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from tests.crash_sweep.sweep import Cut, CutError

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
FILE_EVENTS = frozenset(("os.rename", "os.link", "os.mkdir", "os.remove"))


class Stops:
    """Counts, and stops at those that are armed."""

    watching: "Stops | None" = None  # Python's audit hooks cannot be taken back: one for all

    def __init__(self, folder: Path, cuts: Sequence[Cut]) -> None:
        self.folder = str(folder)
        self.cuts = list(cuts)
        self.counts = [0]
        self.is_armed = False
        self.is_disk_only = False  # messages are no points: a full disk does not keep them
        self.failure: Exception | None = None

    def publication(self) -> None:
        """The broker takes a message next."""
        if not self.is_disk_only:
            self._point(None)

    def commit(self) -> None:
        self._point(sqlite3.OperationalError("database or disk is full"))

    def change(self) -> None:
        """A file is changed next."""
        self._point(OSError(errno.ENOSPC, "No space left on device"))

    def _point(self, failure: Exception | None) -> None:
        """What comes next is durable; `failure` is how a full disk refuses it."""
        if not self.is_armed:
            return
        self.counts[-1] += 1
        if not self.cuts or self.counts[-1] != self.cuts[0].at:
            return
        way = self.cuts.pop(0).way
        self.counts.append(0)
        if way == "full" and failure is not None:
            self.failure = failure
            raise failure
        self.is_armed = False  # while it goes down nothing counts
        raise CutError

    def watch(self, db: Database) -> None:
        """From now on its outermost transactions are points, where they have changed something."""
        right = db.atomic

        @contextmanager
        def atomic() -> Iterator[Database]:
            is_outermost = not db.conn.in_transaction
            before = db.conn.total_changes
            with right():
                yield db
                if is_outermost and db.conn.total_changes != before:
                    self.commit()

        db.atomic = atomic  # type: ignore[method-assign]

    def saw(self, event: str, arguments: tuple[Any, ...]) -> None:
        is_change = event in FILE_EVENTS or (event == "open" and bool(arguments[2] & WRITING))
        if is_change and str(arguments[-1 if event == "os.link" else 0]).startswith(self.folder):
            self.change()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if Stops.watching is not None and (event == "open" or event in FILE_EVENTS):
        stops = Stops.watching
        if stops.is_armed:
            stops.saw(event, arguments)


sys.addaudithook(_hook)
