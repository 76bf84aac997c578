"""Performance windows, resources, raw reports, and how far each spool is committed."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.frozen import quick

from wherry_controller.core.windows import Window, WindowKey
from wherry_controller.store import rows
from wherry_controller.store.devices import NAMED


@quick
@dataclass(frozen=True, slots=True)
class ReportRow:
    """One authentic telemetry message; `payload` is as it came, a COSE_Mac0 around a Telemetry."""

    id: int | None
    connection: str
    unit: str
    received_s: float
    time_s: int | None
    payload: bytes


WINDOW_KEY = "connection = ? AND unit = ? AND model = ? AND digest = ? AND slot = ?"


def put_windows(db: Database, found: Sequence[Window]) -> None:
    rows.put_all(db, "performance", found)


def find_window(db: Database, key: WindowKey, window_s: int) -> Window | None:
    where = f"WHERE {WINDOW_KEY} AND window_s = ?"
    return rows.one(db, Window, "performance", where, (*key, window_s))


def known_to_have_run(
    db: Database, units: Iterable[str], model: str, versions: Iterable[str]
) -> set[tuple[str, str]]:
    """(unit, version): which of these units (`connection/unit`) have which of these versions of a
    model in a slot, or have reported figures of it that are still kept."""
    sql = (
        f"SELECT s.id, v.value FROM {NAMED} "
        "JOIN unit_models m ON m.connection = s.connection AND m.unit = s.unit AND m.model = ? "
        "JOIN json_each(?) v WHERE v.value IN (m.active_version, m.previous_version) OR EXISTS "
        "(SELECT 1 FROM performance p WHERE p.connection = m.connection AND p.unit = m.unit "
        "AND p.model = m.model AND p.slot = 'active' AND p.version = v.value)"
    )
    args = (json.dumps(list(units)), model, json.dumps(list(versions)))
    return set(db.execute(sql, args).fetchall())


def windows(
    db: Database, *, since_s: float = 0.0, connection: str | None = None, limit: int = 10_000
) -> list[Window]:
    """The newest `limit` windows from `since_s` on, oldest first."""
    where, args = "WHERE window_s >= ?", [int(since_s)]
    if connection is not None:
        where, args = f"{where} AND connection = ?", [*args, connection]  # type: ignore[list-item]
    tail = f"{where} ORDER BY window_s DESC, connection, unit, model LIMIT ?"
    return rows.many(db, Window, "performance", tail, [*args, limit])[::-1]


def serving_windows(
    db: Database, unit: tuple[str, str], model: str, since_s: float, until_s: float
) -> list[Window]:
    """What served that model on the unit from then until then, oldest first."""
    where = (
        "WHERE connection = ? AND unit = ? AND model = ? AND slot = 'active' "
        "AND window_s BETWEEN ? AND ? ORDER BY window_s"
    )
    return rows.many(db, Window, "performance", where,
                     (*unit, model, int(since_s), int(until_s)))  # fmt: skip


def first_served_s(
    db: Database, unit: tuple[str, str], model: str, digest: bytes, since_s: float
) -> int | None:
    """The first window from then on in which the bundle served on the unit."""
    sql = (
        "SELECT min(window_s) FROM performance WHERE connection = ? AND unit = ? AND model = ? "
        "AND digest = ? AND slot = 'active' AND window_s >= ?"
    )
    found: int | None = rows.scalar(db, sql, (*unit, model, digest, int(since_s)))
    return found


def sketches_of(
    db: Database, model: str, digest: bytes, hardware_class: str, since_s: float, limit: int
) -> list[bytes]:
    """Latency sketches of a version on units of that class which have it; at most `limit`.

    It asks the units that have the version, so its cost does not grow with what others measured.
    """
    found = db.execute(
        "SELECT p.sketch FROM unit_models m JOIN units u ON u.connection = m.connection "
        "AND u.unit = m.unit JOIN performance p ON p.connection = m.connection "
        "AND p.unit = m.unit AND p.model = m.model AND p.digest = ? AND p.slot = 'active' "
        "AND p.window_s >= ? WHERE m.model = ? AND u.hardware_class = ? "
        "AND (m.active_digest = ? OR m.previous_digest = ?) LIMIT ?",
        (digest, int(since_s), model, hardware_class, digest, digest, limit),
    ).fetchall()
    return [data for (data,) in found]


def power(db: Database, model: str, digest: bytes) -> list[tuple[str, str, float]]:
    """(class, how it came about, mW) of a version: the highest window of each, over the units
    that have it."""
    found = db.execute(
        "SELECT u.hardware_class, p.energy_source, max(p.power_mw) FROM unit_models m "
        "JOIN units u ON u.connection = m.connection AND u.unit = m.unit "
        "JOIN performance p ON p.connection = m.connection AND p.unit = m.unit "
        "AND p.model = m.model AND p.digest = ? AND p.slot = 'active' "
        "WHERE m.model = ? AND (m.active_digest = ? OR m.previous_digest = ?) "
        "AND p.power_mw IS NOT NULL AND p.energy_source <> '' GROUP BY 1, 2",
        (digest, model, digest, digest),
    ).fetchall()
    return [(str(name), str(method), float(mw)) for name, method, mw in found]


@dataclass(frozen=True, slots=True)
class Totals:
    """One version of a model over some time; None: nothing was measured."""

    model: str
    version: str
    units: int
    inferences: int
    error_rate: float | None
    latency_us_mean: float | None
    energy_uj: float | None


def totals(db: Database, since_s: float) -> list[Totals]:
    """Serving versions since then, added up by the database."""
    sql = (
        "SELECT model, version, count(DISTINCT connection || '/' || unit), sum(inferences), "
        "1.0 * sum(errors) / nullif(sum(inferences), 0), "
        "sum(latency_sum_ns) / 1e3 / nullif(sum(latency_count), 0), "
        "sum(energy_sum_uj) / nullif(sum(energy_count), 0) FROM performance "
        "WHERE window_s >= ? AND slot = 'active' GROUP BY model, version ORDER BY model, version"
    )
    return [Totals(*row) for row in db.execute(sql, (int(since_s),)).fetchall()]


def has_series(db: Database, connection: str, unit: str, digest: bytes) -> bool:
    """Whether that unit has reported figures of that bundle."""
    sql = "SELECT 1 FROM performance WHERE connection = ? AND unit = ? AND digest = ? LIMIT 1"
    return rows.scalar(db, sql, (connection, unit, digest)) is not None


def has_digest(db: Database, digest: bytes) -> bool:
    """Has any figure of the bundle arrived?"""
    sql = "SELECT 1 FROM performance WHERE digest = ? AND inferences > 0 LIMIT 1"
    return rows.scalar(db, sql, (digest,)) is not None


def put_resources(db: Database, found: Iterable[tuple[str, str, float, str]]) -> None:
    """(connection, unit, received_s, JSON) of each unit's newest resource report."""
    rows.execute_all(db, "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?)", found)


def resources(db: Database, connection: str, unit: str) -> tuple[float, str] | None:
    """(received_s, JSON) of the newest resource report."""
    sql = "SELECT received_s, document FROM resources WHERE connection = ? AND unit = ?"
    found: tuple[float, str] | None = db.execute(sql, (connection, unit)).fetchone()
    return found


def put_reports(db: Database, found: Sequence[ReportRow]) -> None:
    rows.put_all(db, "reports", found)


def newest_reports(
    db: Database, *, after_id: int = 0, connection: str | None = None, limit: int = 100
) -> list[ReportRow]:
    """At most `limit` newest reports above `after_id`, oldest first."""
    where, args = "WHERE id > ?", [after_id]
    if connection is not None:
        where, args = f"{where} AND connection = ?", [*args, connection]  # type: ignore[list-item]
    tail = f"{where} ORDER BY id DESC LIMIT ?"
    return rows.many(db, ReportRow, "reports", tail, [*args, limit])[::-1]


@dataclass(frozen=True, slots=True)
class SpoolRow:
    """How far one boot's reports are committed; `ahead` is JSON."""

    connection: str
    boot_id: bytes
    contiguous: int
    ahead: str


def spools_of(db: Database, connections: Iterable[str]) -> list[SpoolRow]:
    """Every boot of these connections that is kept."""
    return rows.among(db, SpoolRow, "spools", "connection", connections)


def put_spools(db: Database, found: Iterable[tuple[str, bytes, int, str, float]]) -> None:
    """(connection, boot_id, contiguous, sequences ahead of it as JSON, updated_s) of each boot."""
    rows.execute_all(db, "INSERT OR REPLACE INTO spools VALUES (?, ?, ?, ?, ?)", found)


def prune(db: Database, *, reports_keep: int, windows_before_s: float, boots_keep: int) -> None:
    """Bound what is kept: raw reports by count, windows by age, boots per connection."""
    db.execute("DELETE FROM reports WHERE id <= (SELECT max(id) FROM reports) - ?", (reports_keep,))
    db.execute("DELETE FROM performance WHERE window_s < ?", (int(windows_before_s),))
    db.execute(
        "DELETE FROM spools WHERE (connection, boot_id) IN (SELECT connection, boot_id FROM "
        "(SELECT connection, boot_id, row_number() OVER (PARTITION BY connection "
        "ORDER BY updated_s DESC) AS place FROM spools) WHERE place > ?)",
        (boots_keep,),
    )
