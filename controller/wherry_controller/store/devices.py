"""Connections (an agent's identity), their units, and what each unit last said of itself."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.errors import NotFoundError
from wherry_protocol.frozen import quick

from wherry_controller.store import rows

ROLLBACK_FAILED = "rollback-failed"
CORRUPTED = "corrupted"
# A statement's table of the units (`connection/unit`) that a JSON array names.
NAMED = (
    "(SELECT value AS id, substr(value, 1, instr(value, '/') - 1) AS connection, "
    "substr(value, instr(value, '/') + 1) AS unit FROM json_each(?)) s"
)


@quick
@quick
@dataclass(frozen=True, slots=True)
class Connection:
    """One enrolled agent. `labels` is a JSON object; `login_hash` is what a broker stores."""

    name: str
    signing_key: bytes
    agreement_key: bytes
    labels: str
    username: str
    login_hash: str
    enrolled_s: float
    enrolled_by: str
    is_revoked: int = 0
    is_online: int = 0
    connection_number: int = 0
    presence_s: float | None = None


@quick
@dataclass(frozen=True, slots=True)
class Unit:
    """What runs models. `revision` is the newest that was persisted for it, sent or not."""

    connection: str
    unit: str
    hardware_class: str
    is_isolated: int = 0
    revision: int = 0
    epoch: int = 0
    issued_s: float | None = None
    expires_s: float | None = None
    performance_s: int = 60
    resources_s: int = 30
    json_mirror: int = 0
    chunk_window: int = 8
    seen_s: float | None = None
    boot_count: int = 0
    sequence: int = 0
    reported_revision: int = 0
    agent_version: str = ""
    abi_min: int | None = None
    abi_max: int | None = None
    protocol_min: int | None = None
    protocol_max: int | None = None
    refusal: str = ""
    refusal_code: int = 0
    storage_free_bytes: int | None = None
    stop_sequence: int = 0
    reports_dropped: int = 0
    is_trust_stale: int = 0
    trouble: str = ""  # one of the two above, until it is over
    released_s: float = 0.0  # when its isolation ended last

    @property
    def id(self) -> str:
        """`connection/unit`: how operators and rollouts name it."""
        return f"{self.connection}/{self.unit}"


@quick
@dataclass(frozen=True, slots=True)
class WatchedUnit:
    """What the standing guard needs of a unit; intervals are those that it reports at."""

    connection: str
    unit: str
    hardware_class: str
    performance_s: int
    resources_s: int

    @property
    def id(self) -> str:
        return f"{self.connection}/{self.unit}"


@quick
@dataclass(frozen=True, slots=True)
class UnitModel:
    """One model on one unit, as last reported; `phase`, `outcome` and `code` are wire values."""

    connection: str
    unit: str
    model: str
    phase: int
    outcome: int
    assignment_id: bytes | None
    active_digest: bytes | None
    active_version: str | None
    previous_digest: bytes | None
    previous_version: str | None
    candidate_digest: bytes | None
    candidate_version: str | None
    code: int
    reason: str
    progress_permille: int
    good_inferences: int
    start_count: int
    updated_s: float


@quick
@dataclass(frozen=True, slots=True)
class Glance:
    """What a selector looks at, of a unit and of its connection. `versions` is a JSON object,
    model -> version that serves; `is_failing`: a model has a code."""

    connection: str
    unit: str
    hardware_class: str
    labels: str
    is_online: int
    is_isolated: int
    seen_s: float | None
    refusal_code: int
    storage_free_bytes: int | None
    trouble: str
    versions: str
    is_failing: int


@quick
@dataclass(frozen=True, slots=True)
class Runner:
    """What a version is held against: a unit's class, agent and engine, and what serves there."""

    connection: str
    unit: str
    hardware_class: str
    agent_version: str
    abi_min: int | None
    abi_max: int | None
    active_digest: bytes | None
    active_version: str | None

    @property
    def id(self) -> str:
        return f"{self.connection}/{self.unit}"


def split_id(unit_id: str) -> tuple[str, str]:
    """(connection, unit) of `connection/unit`; a connection alone means its unit `self`."""
    connection, _, unit = unit_id.partition("/")
    return connection, unit or "self"


def put_connection(db: Database, row: Connection) -> None:
    """Insert, or update in place: units refer to it."""
    existing = find_connection(db, row.name)
    if existing is None:
        rows.put(db, "connections", row)
        return
    db.execute(
        "UPDATE connections SET signing_key = ?, agreement_key = ?, labels = ?, username = ?, "
        "login_hash = ?, enrolled_s = ?, enrolled_by = ?, is_revoked = ?, is_online = ?, "
        "connection_number = ?, presence_s = ? WHERE name = ?",
        (row.signing_key, row.agreement_key, row.labels, row.username, row.login_hash,
         row.enrolled_s, row.enrolled_by, row.is_revoked, row.is_online, row.connection_number,
         row.presence_s, row.name),
    )  # fmt: skip


def find_connection(db: Database, name: str) -> Connection | None:
    return rows.one(db, Connection, "connections", "WHERE name = ?", (name,))


def connection(db: Database, name: str) -> Connection:
    """Raises NotFoundError."""
    found = find_connection(db, name)
    if found is None:
        raise NotFoundError(f"device {name!r} is not enrolled here")
    return found


def connections_named(db: Database, names: Iterable[str]) -> list[Connection]:
    return rows.among(db, Connection, "connections", "name", names)


def connections(db: Database) -> list[Connection]:
    return rows.many(db, Connection, "connections", "ORDER BY name")


def offline(db: Database) -> list[str]:
    """The names of the connections that are away."""
    found = db.execute("SELECT name FROM connections WHERE is_online = 0 ORDER BY name").fetchall()
    return [name for (name,) in found]


def find_unit(db: Database, connection: str, unit: str) -> Unit | None:
    where = "WHERE connection = ? AND unit = ?"
    return rows.one(db, Unit, "units", where, (connection, unit))


def unit(db: Database, connection: str, name: str) -> Unit:
    """Raises NotFoundError."""
    found = find_unit(db, connection, name)
    if found is None:
        raise NotFoundError(f"device {connection}/{name} is not enrolled here")
    return found


def watched_units(db: Database, connections: Iterable[str]) -> list[WatchedUnit]:
    """Every unit of these connections."""
    return rows.among(db, WatchedUnit, "units", "connection", connections)


def put_unit(db: Database, row: Unit) -> None:
    rows.put(db, "units", row)


def units(db: Database, connection: str | None = None) -> list[Unit]:
    where = "" if connection is None else "WHERE connection = ? "
    args = () if connection is None else (connection,)
    return rows.many(db, Unit, "units", f"{where}ORDER BY connection, unit", args)


OF_UNIT = "FROM unit_models m WHERE m.connection = u.connection AND m.unit = u.unit"


def glances(db: Database) -> Iterator[Glance]:
    """Every unit whose connection is not revoked."""
    found = db.execute(
        "SELECT u.connection, u.unit, u.hardware_class, c.labels, c.is_online, u.is_isolated, "
        "u.seen_s, u.refusal_code, u.storage_free_bytes, u.trouble, "
        f"(SELECT json_group_object(m.model, m.active_version) {OF_UNIT} "
        f"AND m.active_version IS NOT NULL), EXISTS (SELECT 1 {OF_UNIT} AND m.code <> 0) "
        "FROM units u JOIN connections c ON c.name = u.connection WHERE c.is_revoked = 0 "
        "ORDER BY u.connection, u.unit"
    )
    return (Glance(*row) for row in found)


def runners(db: Database, model: str) -> Iterator[Runner]:
    """Every unit, with what it serves of that model."""
    found = db.execute(
        "SELECT u.connection, u.unit, u.hardware_class, u.agent_version, u.abi_min, u.abi_max, "
        "m.active_digest, m.active_version FROM units u LEFT JOIN unit_models m "
        "ON m.connection = u.connection AND m.unit = u.unit AND m.model = ? "
        "ORDER BY u.connection, u.unit",
        (model,),
    )
    return (Runner(*row) for row in found)


def units_to_refresh(db: Database, before_s: float, limit: int) -> list[Unit]:
    """Units whose desired document was issued before that moment, oldest first."""
    tail = "WHERE issued_s IS NOT NULL AND issued_s < ? ORDER BY issued_s LIMIT ?"
    return rows.many(db, Unit, "units", tail, (before_s, limit))


def stale_units(db: Database, codes: Iterable[int]) -> list[tuple[str, int]]:
    """(unit, why it refused) of units whose trust is out of date, or that refused for one of these
    reasons."""
    sql = (
        "SELECT connection || '/' || unit, refusal_code FROM units WHERE is_trust_stale = 1 "
        "OR refusal_code IN (SELECT value FROM json_each(?)) ORDER BY connection, unit"
    )
    found = db.execute(sql, (json.dumps(list(codes)),)).fetchall()
    return [(unit, code) for unit, code in found]


def units_beyond(db: Database, revision: int) -> list[tuple[str, int]]:
    """(unit, the revision that it reported) of units that follow a higher one than that."""
    sql = (
        "SELECT connection || '/' || unit, reported_revision FROM units "
        "WHERE reported_revision > ? ORDER BY connection, unit"
    )
    return [(unit, found) for unit, found in db.execute(sql, (revision,)).fetchall()]


def in_trouble(db: Database) -> list[Unit]:
    return rows.many(db, Unit, "units", "WHERE trouble <> '' ORDER BY connection, unit")


def make_all_due(db: Database) -> None:
    """Have every desired document made anew, by `units_to_refresh`."""
    db.execute("UPDATE units SET issued_s = 0.0 WHERE issued_s IS NOT NULL")


def put_model(db: Database, row: UnitModel) -> None:
    rows.put(db, "unit_models", row)


def forget_models_except(db: Database, connection: str, unit: str, names: list[str]) -> None:
    """Models that the unit no longer reports are no longer on it."""
    places = ", ".join("?" for _ in names)
    db.execute(
        f"DELETE FROM unit_models WHERE connection = ? AND unit = ? AND model NOT IN ({places})",
        (connection, unit, *names),
    )


def models_of(db: Database, connection: str, unit: str) -> list[UnitModel]:
    tail = "WHERE connection = ? AND unit = ? ORDER BY model"
    return rows.many(db, UnitModel, "unit_models", tail, (connection, unit))


def find_model(db: Database, connection: str, unit: str, model: str) -> UnitModel | None:
    tail = "WHERE connection = ? AND unit = ? AND model = ?"
    return rows.one(db, UnitModel, "unit_models", tail, (connection, unit, model))


def serving(db: Database, model: str) -> dict[str, tuple[str | None, bytes]]:
    """Which unit (`connection/unit`) serves which (version, digest) of a model."""
    found = db.execute(
        "SELECT connection || '/' || unit, active_version, active_digest FROM unit_models "
        "WHERE model = ? AND active_digest IS NOT NULL",
        (model,),
    ).fetchall()
    return {unit: (version, digest) for unit, version, digest in found}


def brought_by(db: Database) -> list[tuple[str, str, str, str]]:
    """(connection, unit, version, rollout) of every assignment of a rollout."""
    return db.execute(
        "SELECT a.connection, a.unit, b.version, a.rollout FROM assignments a "
        "JOIN bundles b ON b.digest = a.bundle_digest WHERE a.rollout <> ''"
    ).fetchall()


def all_heard(db: Database, units: Iterable[tuple[str, str]], now_s: float) -> None:
    """These (connection, unit) gave a sign of life."""
    sql = "UPDATE units SET seen_s = ? WHERE connection = ? AND unit = ?"
    rows.execute_all(db, sql, ((now_s, *unit) for unit in units))


def control_group(
    db: Database, classes: list[str], digest: bytes, heard_before_s: float
) -> tuple[int, int]:
    """(units, silent units) of these classes that do not serve that bundle.

    Silent: heard of once, but not since `heard_before_s`.
    """
    places = ", ".join("?" for _ in classes)
    row = db.execute(
        "SELECT count(*), coalesce(sum(seen_s < ?), 0) FROM units u "
        f"WHERE hardware_class IN ({places}) AND seen_s IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM unit_models m WHERE m.connection = u.connection AND m.unit = u.unit "
        "AND m.active_digest = ?)",
        (heard_before_s, *classes, digest),
    ).fetchone()
    return int(row[0]), int(row[1])
