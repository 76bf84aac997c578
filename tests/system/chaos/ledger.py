"""What agents have accepted onto their disks, and whether the store has it exactly once.

A thread looks into the spools all the time. A segment that comes and goes between two looks was
released by a signed ack, and is none of the cases that this is for.
"""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from wherry_agent.core.reports import SpooledReport, decode_segment
from wherry_controller.fleet.observed import wire
from wherry_protocol import cose
from wherry_protocol.codec import decode
from wherry_protocol.errors import DecodeError
from wherry_protocol.messages.observed import Event
from wherry_protocol.topics import parse_device_topic

LOOK_S = 0.02
Key = tuple[str, bytes, int]  # connection, boot id, sequence
EventKey = tuple[str, str, int | None, int, int, int, str]


@dataclass
class Ledger:
    """`watch` adds a device; `stop` ends the thread."""

    accepted: dict[Key, SpooledReport] = field(default_factory=dict)
    _spools: dict[str, Path] = field(default_factory=dict)
    _seen: set[tuple[str, str, int]] = field(default_factory=set)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def watch(self, connection: str, state_dir: Path) -> None:
        self._spools[connection] = state_dir / "data" / "spool"

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="ledger")
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        for connection, folder in list(self._spools.items()):
            for path in _segments(folder):
                self._read(connection, path)

    def _read(self, connection: str, path: Path) -> None:
        try:
            mark = (connection, path.name, path.stat().st_mtime_ns)
            if mark in self._seen:
                return
            content = decode_segment(path.read_bytes())
        except (OSError, DecodeError):  # gone again, or the disk lied
            return
        self._seen.add(mark)
        for report in content.reports:
            self.accepted[connection, report.boot_id, report.sequence] = report


def _segments(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix != ".new"]
    except OSError:
        return []


# --- the store


def opened(database: Path) -> sqlite3.Connection:
    """For reading only, beside the one writer."""
    return sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=20)


def missing(database: Path, accepted: Mapping[Key, SpooledReport]) -> list[Key]:
    """The accepted reports that the store does not have.

    Where old rows have given way to newer ones, a report that was committed is not looked for.
    """
    with closing(opened(database)) as db:
        stored = {bytes(row[0]) for row in db.execute("SELECT payload FROM reports")}
        events, committed = stored_events(db), positions(db)
        pruned = {table for table in ("reports", "events") if is_pruned(db, table)}
    lost = []
    for key, report in sorted(accepted.items()):
        if report.topic.endswith("/telemetry"):
            is_there, table = report.payload in stored, "reports"
        else:
            found, table = event_key(report), "events"
            events[found] -= 1
            is_there = events[found] >= 0
        if not is_there and not (table in pruned and is_committed(committed, key)):
            lost.append(key)
    return lost


Positions = dict[tuple[str, bytes], tuple[int, frozenset[int]]]


def positions(db: sqlite3.Connection) -> Positions:
    """How far each boot's reports are committed."""
    rows = db.execute("SELECT connection, boot_id, contiguous, ahead FROM spools")
    return {(row[0], bytes(row[1])): (row[2], frozenset(json.loads(row[3]))) for row in rows}


def is_committed(committed: Positions, key: Key) -> bool:
    contiguous, ahead = committed.get(key[:2], (0, frozenset()))
    return key[2] <= contiguous or key[2] in ahead


def is_pruned(db: sqlite3.Connection, table: str) -> bool:
    return int(db.execute(f"SELECT coalesce(min(id), 1) FROM {table}").fetchone()[0]) > 1


def stored_events(db: sqlite3.Connection) -> Counter[EventKey]:
    columns = "connection, unit, time_s, kind, severity, code, text"
    return Counter(tuple(row) for row in db.execute(f"SELECT {columns} FROM events"))


def event_key(report: SpooledReport) -> EventKey:
    """What the store keeps of an event that tells it from others."""
    event = decode(Event, cose.unverified_payload(report.payload))
    address = parse_device_topic(report.topic)
    assert address is not None
    kind, severity, code = wire(event.kind), wire(event.severity), wire(event.code)
    unit = address.unit or ""
    return (address.connection, unit, event.origin.time_s, kind, severity, code, event.text)


def doubles(database: Path) -> Iterator[str]:
    """Reports that are in the store more than once: telemetry by its bytes, the rest by count."""
    with closing(opened(database)) as db:
        twice = "SELECT connection, count(*) FROM reports GROUP BY payload HAVING count(*) > 1"
        for connection, count in db.execute(twice):
            yield f"{connection}: one telemetry report is there {count} times"
        numbered: Counter[str] = Counter()
        for connection, contiguous, ahead in db.execute(
            "SELECT connection, contiguous, ahead FROM spools"
        ):
            numbered[connection] += contiguous + len(json.loads(ahead))
        stored: Counter[str] = Counter()
        for table in ("reports", "events"):
            for connection, count in db.execute(
                f"SELECT connection, count(*) FROM {table} GROUP BY connection"
            ):
                stored[connection] += count
    for connection, count in stored.items():
        if count > numbered[connection]:
            yield f"{connection}: {count} reports stored, {numbered[connection]} were numbered"
