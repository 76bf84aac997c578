"""`Fleet`: the one door to an organization's state, for the broker, for operators, for time.

Rules:
1. Each call is one transaction: a change, its audit row and its outbox rows commit together.
2. What `receive` returns is sent after the commit; if it is lost, the device asks again. What
   must not be lost is in the outbox: `due` hands it out, `sent` takes the broker's word.
3. A message that is not believed is counted and dropped. A message that meets a mistake of ours
   is set aside alone, so that it cannot hold up the others; a full disk stops everything, and
   nothing is acknowledged.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from wherry_protocol.errors import DecodeError, WherryError
from wherry_protocol.topics import DeviceTopic, parse_device_topic

from wherry_controller.fleet import (
    alerting,
    asking,
    blobs,
    custom_metrics,
    deploying,
    escalating,
    guarding,
    joining,
    noticing,
    observed,
    rollouts,
    trustees,
    upkeep,
    verifying,
)
from wherry_controller.fleet.organization import Organization, Outbound
from wherry_controller.fleet.reports import Batch
from wherry_controller.store import devices, meta, outbox

LOG = logging.getLogger(__name__)
T = TypeVar("T")
FORGOTTEN_S = 600.0  # our broker configuration saves every 60 s
REPORTS = frozenset(("telemetry", "event"))
DUE_MAX = 64  # messages handed out at a time: at most 4 MiB of chunks in memory


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message from the broker."""

    topic: str
    payload: bytes


@dataclass(slots=True)
class Fleet:
    """The service over one organization. Not thread-safe: it belongs to the one writer."""

    org: Organization
    guarded_s: float = 0.0  # when silence was last looked for
    ticked_s: float | None = None
    joined_s: float = -joining.JOIN_S

    def start(self, now_s: float) -> None:
        """Once per process: what everybody is told is queued if it never was."""
        with self._kept(now_s):
            rollouts.process_started(self.org)
            trustees.publish_roots(self.org, now_s)
            trustees.publish_time(self.org, now_s)
            guarding.start(self.org)
            if meta.get(self.org.db, "restore.pending") == "1":
                trustees.ask_for_reports(self.org, now_s)
                meta.put(self.org.db, "restore.pending", "0")

    def receive(self, messages: Sequence[Inbound], now_s: float) -> list[Outbound]:
        """Take in what devices sent, in order; the answers to send now that it is committed."""
        try:
            return self._transaction(messages, now_s)
        except (OSError, sqlite3.Error):
            raise
        except Exception:
            if len(messages) == 1:
                LOG.exception("a message on %s meets a mistake of ours", messages[0].topic)
                self._set_aside(now_s)
                return []
        return [answer for message in messages for answer in self.receive([message], now_s)]

    def _set_aside(self, now_s: float) -> None:
        self.do(lambda org: observed.count_dropped(org, "internal", "see the log", now_s), now_s)

    def _transaction(self, messages: Sequence[Inbound], now_s: float) -> list[Outbound]:
        answers: list[Outbound] = []
        with self._kept(now_s):
            batch = Batch(self.org, now_s)
            topics = [parse_device_topic(message.topic) for message in messages]
            batch.expect(
                {one.connection for one in topics if one is not None and one.leaf in REPORTS}
            )
            for message, topic in zip(messages, topics, strict=True):
                try:
                    answers += self._one(batch, message, topic)
                except WherryError as error:
                    reason = error.code.name.lower()
                    observed.count_dropped(self.org, reason, f"{message.topic}: {error}", now_s)
            answers += batch.finish()
            rollouts.watch(self.org, batch.seen, now_s)
            guarding.watch(self.org, batch.seen, now_s)
            custom_metrics.watch(self.org, batch.seen, now_s)
            verifying.watch(self.org, batch.seen, now_s)
        return answers

    def _one(self, batch: Batch, message: Inbound, topic: DeviceTopic | None) -> list[Outbound]:
        if topic is None or topic.org != self.org.name:
            raise DecodeError("not a topic of a device of this organization")
        is_report = topic.leaf in REPORTS  # other messages change the connection's row
        connection = (
            batch.connection(topic.connection)
            if is_report
            else devices.connection(self.org.db, topic.connection)
        )
        if connection.is_revoked:
            raise WherryError(f"device {connection.name} is revoked")
        return self._dispatch(batch, connection, topic, message.payload)

    def _dispatch(
        self, batch: Batch, connection: devices.Connection, topic: DeviceTopic, payload: bytes
    ) -> list[Outbound]:
        if not payload:  # somebody cleared a retained message: it says nothing
            return []
        if topic.unit is None:
            if topic.leaf == "presence" and observed.presence(
                self.org, connection, payload, batch.now_s
            ):
                rollouts.presence(self.org, connection.name, batch.now_s)
        elif topic.leaf == "reported":
            answers, changed = observed.reported(
                self.org, connection, topic.unit, payload, batch.now_s
            )
            rollouts.observe(self.org, changed, batch.now_s)
            verifying.observe(self.org, changed, batch.now_s)
            escalating.observe(self.org, changed, batch.now_s)
            return answers
        elif topic.leaf == "telemetry":
            batch.telemetry(connection, topic.unit, payload)
        elif topic.leaf == "event":
            batch.event(connection, topic.unit, payload)
        elif topic.leaf == "reply":
            row = asking.answered(self.org, connection, topic.unit, payload, batch.now_s)
            if row is not None:
                verifying.answered(self.org, row, batch.now_s)
        return []

    def do(self, command: Callable[[Organization], T], now_s: float) -> T:
        """Run an operator's command in one transaction; what it raises changes nothing."""
        with self._kept(now_s):
            return command(self.org)

    def take_asked(self) -> list[Outbound]:
        """The questions that were put since the last call; lost ones expire."""
        found, self.org.asked = self.org.asked, []
        return found

    @contextmanager
    def _kept(self, now_s: float) -> Iterator[None]:
        """A transaction that keeps the rollouts it changed; where it fails, memory is as before."""
        trust = self.org.trust
        try:
            with self.org.db.atomic():
                yield
                rollouts.keep(self.org, now_s)
        except BaseException:
            rollouts.forget(self.org)
            verifying.forget(self.org)
            self.org.asked.clear()
            self.org.trust = trust
            raise

    def tick(self, now_s: float) -> None:
        """Let time pass: refresh, expire, advance rollouts. Once a second or so."""
        guarding.pass_time(self.org, now_s - (now_s if self.ticked_s is None else self.ticked_s))
        self.ticked_s = now_s
        with self._kept(now_s):
            trustees.publish_time(self.org, now_s)
            upkeep.refresh(self.org, now_s)
            blobs.clear_expired(self.org, now_s)
            rollouts.tick(self.org, now_s)
            deploying.start_those_after(self.org, now_s)
            if not 0 <= now_s - self.joined_s < joining.JOIN_S:
                self.joined_s = now_s
                joining.join(self.org, now_s)
            verifying.tick(self.org, now_s)
            if now_s - self.guarded_s >= guarding.TICK_S or now_s < self.guarded_s:
                self.guarded_s = now_s
                guarding.tick(self.org, now_s)
                noticing.tick(self.org, now_s)
                escalating.tick(self.org, now_s)
            alerting.tick(self.org, now_s)

    def clock_set(self, by_s: float, now_s: float) -> None:
        """Somebody set the wall clock: it is `now_s`, and would have been `by_s` less."""
        LOG.warning("the clock was set by %+.0f s: what rollouts wait for moves with it", by_s)
        with self._kept(now_s):
            rollouts.clock_set(self.org, by_s)

    def prune(self) -> None:
        """Bound what is kept of observations. Every few minutes."""
        with self.org.db.atomic():
            upkeep.prune(self.org)

    def link_changed(self, is_up: bool, has_session: bool, now_s: float) -> None:
        """The link to the broker came or went.

        A broker that lost our session has lost everything: it is told all again, and the devices
        are asked what they said meanwhile. One that kept it may still have been killed before it
        saved what was published last.
        """
        with self._kept(now_s):
            self.org.link_is_up = is_up
            if is_up:
                since_s = now_s - FORGOTTEN_S if has_session else 0.0
                outbox.queue_retained_again(self.org.db, since_s)
                if not has_session:
                    trustees.ask_for_reports(self.org, now_s)
            rollouts.link_changed(self.org, is_up, now_s)

    def due(self, in_flight: Set[str] = frozenset(), limit: int = DUE_MAX) -> list[Outbound]:
        """The most urgent outbox rows but those in flight, at most `limit` with them.

        Chunks are made ready; one whose blob is damaged is logged and skipped.
        """
        found = []
        for row in outbox.due(self.org.db, limit):
            if row.topic in in_flight:
                continue
            payload = row.payload
            if payload is None:
                payload = self._chunk(row)
            if payload is not None:
                found.append(Outbound(row.topic, payload, bool(row.is_retained), row.version))
        return found

    def _chunk(self, row: outbox.OutboxRow) -> bytes | None:
        if row.chunk_digest is None or row.chunk_index is None:
            raise RuntimeError(f"outbox row {row.topic} has neither payload nor chunk")
        try:
            return blobs.chunk_payload(self.org, row.chunk_digest, row.chunk_index)
        except WherryError as error:
            LOG.error("chunk %s cannot be published: %s", row.topic, error)
            with self.org.db.atomic():
                blobs.give_up(self.org, row.chunk_digest, row.chunk_index, row.topic)
            return None

    def sent(self, messages: Iterable[tuple[str, int]]) -> None:
        """The broker has acknowledged these (topic, version)."""
        with self.org.db.atomic():
            for topic, version in messages:
                outbox.mark_sent(self.org.db, topic, version)
