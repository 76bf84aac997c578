"""The one writer: a thread that owns the fleet, and an inbox that everything goes through.

Devices' messages are taken in batches, one transaction each; operators' commands run between
them; time passes once a second. Whoever submits a command gets a future.
"""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from wherry_protocol.errors import UnreachableError

from wherry_controller.fleet import Fleet, Inbound, Organization
from wherry_controller.link.mqtt import Arrived, Link, LinkChanged, Published

LOG = logging.getLogger(__name__)
T = TypeVar("T")
BATCH_MAX: Final = 1000
TICK_S: Final = 1.0
PRUNE_S: Final = 300.0
SET_S_MIN: Final = 2.0  # less is a clock that is being kept right


@dataclass(slots=True)
class Command:
    """Something to run on the organization, in one transaction."""

    run: Callable[[Organization], Any]
    future: "Future[Any]"


@dataclass(slots=True)
class Counters:
    """What the writer has done since it started, for /metrics."""

    messages: int = 0
    batches: int = 0
    commands: int = 0
    published: int = 0
    busy_s: float = 0.0
    store_errors: int = 0


class Stop:
    """The last thing on the inbox."""


@dataclass(slots=True)
class Writer:
    """`run` is the thread's body; everything else may be called from any thread.

    `open_fleet` and `open_link` are called on the writer's own thread, because SQLite's
    connection belongs to the thread that made it.
    """

    open_fleet: Callable[[], Fleet]
    open_link: Callable[["queue.SimpleQueue[Any]"], Link | None]
    clock: Callable[[], float] = time.time
    inbox: "queue.SimpleQueue[Any]" = field(default_factory=queue.SimpleQueue)
    counters: Counters = field(default_factory=Counters)
    ready: "Future[None]" = field(default_factory=Future)
    is_link_up: bool = False
    _has_ended: bool = False
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread and wait until the fleet is open; raises what kept it from that."""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()
        self.ready.result()

    def stop(self) -> None:
        """Finish what is in the inbox, close link and store. What comes later is refused."""
        self.inbox.put(Stop())
        if self._thread is not None:
            self._thread.join()

    def submit(self, command: Callable[[Organization], T]) -> "Future[T]":
        """Run a command on the writer's thread; its result or exception is in the future.

        UnreachableError where the writer has ended before it got to that.
        """
        future: Future[T] = Future()
        self.inbox.put(Command(command, future))
        if self._has_ended:
            self._refuse_left()
        return future

    def _refuse_left(self) -> None:
        """Whoever waits for what is left in the inbox is told that it will not be done."""
        while not self.inbox.empty():
            with suppress(queue.Empty):  # another thread was quicker
                item = self.inbox.get_nowait()
                if isinstance(item, Command):
                    error = UnreachableError("the service is stopping: try again when it is back")
                    item.future.set_exception(error)

    def _run(self) -> None:
        try:
            fleet = self.open_fleet()
            fleet.start(self.clock())
            link = self.open_link(self.inbox)
        except BaseException as error:
            self.ready.set_exception(error)
            return
        self.ready.set_result(None)
        try:
            _Loop(self, fleet, link).run()
        finally:
            if link is not None:
                link.stop()
            fleet.org.db.close()
            self._has_ended = True
            self._refuse_left()


@dataclass(slots=True)
class _Loop:
    writer: Writer
    fleet: Fleet
    link: Link | None
    arrived: list[Arrived] = field(default_factory=list)  # not committed yet
    next_tick_s: float = 0.0
    next_prune_s: float = 0.0
    is_stopping: bool = False
    clock_ahead_s: float | None = None  # the wall clock over the monotonic one, as last seen

    def run(self) -> None:
        while not self.is_stopping:
            items = self._wait()
            started = time.perf_counter()
            self._guarded(self._look_at_clock)
            self._take(items)
            self._guarded(self._let_time_pass)
            self._guarded(self._publish)
            self.writer.counters.busy_s += time.perf_counter() - started

    def _wait(self) -> list[Any]:
        """Everything that is there, at most a batch; or nothing when the next tick is due."""
        end_s = min(time.monotonic() + TICK_S, self.next_tick_s)
        items: list[Any] = []
        try:
            items.append(self.writer.inbox.get(timeout=max(0.0, end_s - time.monotonic())))
            while len(items) < BATCH_MAX:  # only what is there already goes with the first one
                items.append(self.writer.inbox.get_nowait())
        except queue.Empty:
            pass
        return items

    def _take(self, items: list[Any]) -> None:
        """In order, messages in as few transactions as possible."""
        published: list[tuple[str, int]] = []
        for item in items:
            if isinstance(item, Arrived):
                self.arrived.append(item)
                continue
            if isinstance(item, Published):
                row = None if self.link is None else self.link.settled(item.mid)
                published += [] if row is None else [row]
                continue
            self._guarded(self._receive)
            self._other(item)
        self._guarded(self._receive)
        if published:
            self._guarded(lambda: self.fleet.sent(published))
            self.writer.counters.published += len(published)

    def _guarded(self, step: Callable[[], None]) -> bool:
        """Whether the store could write. If not, nothing was acknowledged, and it comes again."""
        try:
            step()
        except (OSError, sqlite3.Error) as error:
            self.writer.counters.store_errors += 1
            LOG.error("the store cannot write (%s): devices keep their reports", error)
            return False
        except Exception:
            LOG.exception("the controller made a mistake; it goes on")
            return False
        return True

    def _other(self, item: Any) -> None:
        if isinstance(item, Command):
            self._command(item)
        elif isinstance(item, LinkChanged):
            self.writer.is_link_up = item.is_up
            if self.link is not None:
                self.link.is_up = item.is_up
            now_s = self.writer.clock()
            self._guarded(lambda: self.fleet.link_changed(item.is_up, item.has_session, now_s))
        elif isinstance(item, Stop):
            self.is_stopping = True

    def _command(self, command: Command) -> None:
        self.writer.counters.commands += 1
        try:
            result = self.fleet.do(command.run, self.writer.clock())
        except Exception as error:
            command.future.set_exception(error)
        else:
            command.future.set_result(result)

    def _receive(self) -> None:
        """One transaction for all that has arrived; PUBACKs and answers follow its commit.

        Where the store cannot write, what has arrived waits here for the next round; the
        broker sends no more than its window until then.
        """
        if not self.arrived or self.link is None:
            return
        inbound = [Inbound(message.topic, message.payload) for message in self.arrived]
        answers = self.fleet.receive(inbound, self.writer.clock())
        done, self.arrived = self.arrived, []
        self.link.acknowledge(done)
        self.link.publish(answers)
        self.writer.counters.messages += len(done)
        self.writer.counters.batches += 1

    def _look_at_clock(self) -> None:
        """Before anything else is done at the new time."""
        now_s = self.writer.clock()
        ahead_s = now_s - time.monotonic()
        by_s = 0.0 if self.clock_ahead_s is None else ahead_s - self.clock_ahead_s
        if abs(by_s) >= SET_S_MIN:
            self.fleet.clock_set(by_s, now_s)
        self.clock_ahead_s = ahead_s

    def _let_time_pass(self) -> None:
        now = time.monotonic()
        if now < self.next_tick_s:
            return
        self.next_tick_s = now + TICK_S
        self.fleet.tick(self.writer.clock())
        if now >= self.next_prune_s:
            self.next_prune_s = now + PRUNE_S
            self.fleet.prune()

    def _publish(self) -> None:
        if self.link is None:
            return
        self.link.publish(self.fleet.take_asked())
        if self.link.has_room:
            self.link.publish(self.fleet.due(self.link.topics_in_flight))
