"""Telemetry and events: authenticated, counted once, committed, then acknowledged.

A `Batch` lives for one transaction: it keeps spool positions and windows in memory, so that many
reports cost few rows, and is written out before the commit that its acknowledgements follow.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, field

from wherry_protocol.errors import Code, LimitError
from wherry_protocol.frozen import quick
from wherry_protocol.messages.observed import Ack, Event, Origin, Telemetry
from wherry_protocol.sealed import open_mac, seal_mac

from wherry_controller.core import performance, spool
from wherry_controller.core.performance import Performance
from wherry_controller.core.spool import Position, Verdict
from wherry_controller.core.windows import Window, WindowKey
from wherry_controller.fleet.observed import check_address, wire
from wherry_controller.fleet.organization import Organization, Outbound
from wherry_controller.store import devices, events
from wherry_controller.store import performance as rows
from wherry_controller.store.devices import Connection
from wherry_controller.store.events import EventRow
from wherry_controller.store.performance import ReportRow

CLOCK_AHEAD_S_MAX = 60.0  # a report from further in the future counts as received now

SpoolKey = tuple[str, bytes]


@quick
@dataclass(frozen=True, slots=True)
class Seen:
    """What a report said, for whoever watches: rollouts and the standing guard."""

    connection: str
    unit: str
    ended_s: float
    performances: tuple[Performance, ...] = ()
    resources: dict[str, float | str] = field(default_factory=dict)
    event: Event | None = None


@dataclass(slots=True)
class Batch:
    """Reports of one transaction."""

    org: Organization
    now_s: float
    spools: dict[SpoolKey, Position] = field(default_factory=dict)  # those that have moved
    spools_before: dict[SpoolKey, Position] = field(default_factory=dict)
    windows: dict[tuple[WindowKey, int], Window] = field(default_factory=dict)
    resources: dict[tuple[str, str], dict[str, float | str]] = field(default_factory=dict)
    raw: list[ReportRow] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    _connections: dict[str, Connection] = field(default_factory=dict)

    def expect(self, connections: Collection[str]) -> None:
        """Read the rows of these connections at once, before any of their reports is taken."""
        for row in devices.connections_named(self.org.db, connections):
            self._connections[row.name] = row
        for spooled in rows.spools_of(self.org.db, connections):
            place = Position(spooled.contiguous, frozenset(json.loads(spooled.ahead)))
            self.spools_before[spooled.connection, spooled.boot_id] = place

    def connection(self, name: str) -> Connection:
        """Who may report under that name. Raises NotFoundError."""
        found = self._connections.get(name)
        if found is None:
            found = self._connections[name] = devices.connection(self.org.db, name)
        return found

    def telemetry(self, connection: Connection, unit: str, payload: bytes) -> None:
        """Raises TrustError, DecodeError; LimitError where the sequence is too far ahead."""
        message = open_mac(Telemetry, payload, self.org.keys_of(connection).mac_key)
        self._check(message.origin, connection, unit)
        if not self._is_new(message.origin):
            return
        # From here on the sequence counts as received, even if the figures are refused: a device
        # whose report nobody can read must not wait for its acknowledgement for ever.
        figures = performance.read(message)
        name, origin = connection.name, message.origin
        self.raw.append(ReportRow(None, name, unit, self.now_s, origin.time_s, payload))
        ended_s = self._time_of(origin)
        for one in figures.performances:
            self._count(name, unit, one, ended_s)
        resources = dict(figures.resources)
        if resources:
            self.resources[name, unit] = resources
        self.seen.append(Seen(name, unit, ended_s, figures.performances, resources))

    def _check(self, origin: Origin, connection: Connection, unit: str) -> None:
        said = (origin.org, origin.connection, origin.unit)
        check_address(self.org, said, (connection.name, unit))

    def event(self, connection: Connection, unit: str, payload: bytes) -> None:
        """Raises TrustError, DecodeError; LimitError where the sequence is too far ahead."""
        message = open_mac(Event, payload, self.org.keys_of(connection).mac_key)
        origin = message.origin
        self._check(origin, connection, unit)
        if not self._is_new(origin):
            return
        row = EventRow(
            None,
            connection.name,
            unit,
            self.now_s,
            origin.time_s,
            wire(message.kind),
            wire(message.severity),
            wire(message.code),
            message.text,
            message.model,
            message.manifest_digest,
            min(message.suppressed, 1 << 40),
            json.dumps(message.fields, sort_keys=True),
        )
        events.put(self.org.db, row)
        self.seen.append(Seen(connection.name, unit, self._time_of(origin), event=message))

    def _is_new(self, origin: Origin) -> bool:
        key = (origin.connection, origin.boot_id)
        position = self.spools.get(key) or self.spools_before.get(key, spool.START)
        after, verdict = spool.accept(position, origin.sequence, origin.oldest)
        self.spools[key] = after
        if verdict is Verdict.TOO_FAR:
            raise LimitError(
                f"{origin.connection}: report {origin.sequence} is more than {spool.AHEAD_MAX} "
                f"beyond {after.contiguous}",
                Code.OUT_OF_BOUNDS,
            )
        return verdict is Verdict.NEW

    def _time_of(self, origin: Origin) -> float:
        """When it was, on the fleet's clock: the device's word unless it lies in the future."""
        if origin.time_s is None or origin.time_s > self.now_s + CLOCK_AHEAD_S_MAX:
            return self.now_s
        return float(origin.time_s)

    def _count(self, connection: str, unit: str, one: Performance, ended_s: float) -> None:
        size_s = self.org.settings.window_s
        key = (connection, unit, one.model, one.digest, one.slot)
        window_s = int(ended_s) // size_s * size_s
        window = self.windows.get((key, window_s))
        if window is None:
            stored = rows.find_window(self.org.db, key, window_s)
            window = stored or Window(*key, window_s, one.version)
            self.windows[key, window_s] = window
        window.add(one)

    def finish(self) -> list[Outbound]:
        """Write everything out; the acknowledgements to send after the commit."""
        if not self.spools:  # each authentic report has moved one, or tried to
            return []
        db, now_s = self.org.db, self.now_s
        rows.put_reports(db, self.raw)
        rows.put_windows(db, [*self.windows.values()])
        rows.put_resources(
            db,
            ((*unit, now_s, json.dumps(found, sort_keys=True))
             for unit, found in self.resources.items()),
        )  # fmt: skip
        devices.all_heard(db, {(seen.connection, seen.unit) for seen in self.seen}, now_s)
        rows.put_spools(
            db,
            ((*key, position.contiguous, json.dumps(sorted(position.ahead)), now_s)
             for key, position in self.spools.items()),
        )  # fmt: skip
        return [self._ack(*key, position) for key, position in self.spools.items()]

    def _ack(self, connection: str, boot_id: bytes, position: Position) -> Outbound:
        ack = Ack(
            org=self.org.name,
            connection=connection,
            boot_id=boot_id,
            sequence=position.contiguous,
        )
        mac_key = self.org.keys_of(self.connection(connection)).mac_key
        return Outbound(self.org.topics.ack(connection), seal_mac(ack, mac_key), qos=0)
