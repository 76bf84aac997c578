"""What handlers work with: the writer for changes, a reading connection per thread for answers."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from sqlite_utils import Database
from wherry_protocol.errors import UnreachableError

from wherry_controller.fleet import Organization
from wherry_controller.layout import DataDir
from wherry_controller.settings import Settings
from wherry_controller.store import open_reader
from wherry_controller.writer import Writer

T = TypeVar("T")
COMMAND_S_MAX: Final = 60.0


@dataclass(slots=True)
class Desk:
    """One organization's desk. Its database has only this organization's rows."""

    data: DataDir
    settings: Settings
    writer: Writer
    clock: Callable[[], float] = time.time
    _local: threading.local = field(default_factory=threading.local)

    @property
    def reader(self) -> Database:
        """This thread's reading connection."""
        db: Database | None = getattr(self._local, "db", None)
        if db is None:
            db = open_reader(self.data.database)
            self._local.db = db
        return db

    @contextmanager
    def snapshot(self) -> Iterator[Database]:
        """The same, with the store as it stands now until the block ends, for a question of many
        statements; temporary tables go with it."""
        db = self.reader
        db.execute("BEGIN")
        try:
            yield db
        finally:
            db.execute("ROLLBACK")

    def do(self, command: Callable[[Organization, float], T]) -> T:
        """Run a command on the writer, in one transaction. Raises what it raises."""
        future = self.writer.submit(lambda org: command(org, self.clock()))
        try:
            return future.result(timeout=COMMAND_S_MAX)
        except TimeoutError as error:
            raise UnreachableError(
                f"the controller did not get to this within {COMMAND_S_MAX:g} s; "
                "look at the rollout or device before you try again"
            ) from error
