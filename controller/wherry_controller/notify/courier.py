"""The courier: takes what is due to its route, and writes down how it went.

Rules:
1. An attempt is written down before it is made and when it has ended, each in a transaction of
   the one writer; the attempt itself is made outside of any. A process that dies in between
   delivers again later (at least once; the receiver knows the message by its id).
2. A route has one worker at a time, so that one that hangs delays nobody else.
3. A message that fails waits longer each time, and at last lies among the dead, where an operator
   finds it and sends it again.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from wherry_controller.core.notify import Attempt, Route
from wherry_controller.fleet import Organization, delivering
from wherry_controller.notify import command, webhook
from wherry_controller.store import deliveries, open_reader
from wherry_controller.store.deliveries import Delivery

LOG = logging.getLogger(__name__)
LOOK_S: Final = 1.0
WORKERS: Final = 8
T = TypeVar("T")


class Writes(Protocol):
    """The one writer, as the courier needs it."""

    def submit(self, command: Callable[[Organization], T]) -> "Future[T]": ...


@dataclass(slots=True)
class Courier:
    """`start` it beside the writer; or call `round` where time does not pass by itself."""

    organization: str
    routes: tuple[Route, ...]
    folder: Path  # the data directory: secrets lie relative to it
    database: Path
    writer: Writes
    clock: Callable[[], float]
    look_s: float = LOOK_S
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _pool: ThreadPoolExecutor | None = None
    _working: "dict[str, Future[None]]" = field(default_factory=dict)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait until what is under way has ended, at most its route's timeout, and is written down.

        The writer must still be there; it stops after the courier.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        reader = open_reader(self.database)
        while not self._stopping.wait(self.look_s):
            try:
                self.begin(deliveries.routes_due(reader, self.clock()))
            except Exception:
                LOG.exception("the courier made a mistake; it goes on")
        reader.close()

    def round(self) -> None:
        """Try everything that is due, once, and wait until it is done."""
        reader = open_reader(self.database)
        due = deliveries.routes_due(reader, self.clock())
        reader.close()
        self.begin(due)
        for work in list(self._working.values()):
            work.result()

    def begin(self, names: Iterable[str]) -> None:
        """Give each route that has something to do its worker, unless it has one."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="courier")
        routes = {route.name: route for route in self.routes}
        for name in names:
            work = self._working.get(name)
            if work is None or work.done():
                route = routes.get(name)
                self._working[name] = self._pool.submit(self._work, name, route)

    def _work(self, name: str, route: Route | None) -> None:
        """One message after the other, as long as any is due for that route."""
        if route is None:
            self._do(lambda org: delivering.give_up(org, name, self.clock()))
            return
        while not self._stopping.is_set():
            delivery = self._do(lambda org: delivering.claim(org, route, self.clock()))
            if delivery is None:
                return
            attempt = self._try(route, delivery)
            self._do(
                lambda org, d=delivery, a=attempt: delivering.settle(  # type: ignore[misc]
                    org, route, d.id, d.attempts, a, self.clock()
                )
            )

    def _do(self, command: Callable[[Organization], T]) -> T:
        return self.writer.submit(command).result()

    def _try(self, route: Route, delivery: Delivery) -> Attempt:
        message_id = f"{self.organization}-{delivery.id}"
        told: dict[str, Any] = json.loads(delivery.payload)
        body = json.dumps({"id": message_id} | told, sort_keys=True).encode()
        try:
            if route.webhook:
                at_s = int(self.clock())
                return webhook.post(route, self.folder, message_id, body, at_s)
            return command.run(route, message_id, body)
        except Exception as error:
            LOG.exception("delivery %s failed by a mistake of ours", message_id)
            return Attempt(False, f"a mistake of ours: {error}")
