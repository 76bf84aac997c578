"""A version's life: its stage, who asked to promote it, what happened to it, and where it served.

`version_events` and `unit_versions` are only ever added to; they outlive the bundle itself.
"""

from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.errors import StateError

from wherry_controller.store import rows
from wherry_controller.store.registry import BundleRow


@dataclass(frozen=True, slots=True)
class VersionEvent:
    """One thing that happened to a version; `units` is how many a rollout brought it to."""

    id: int | None
    at_s: float
    model: str
    version: str
    digest: bytes
    who: str
    action: str
    from_stage: str
    to_stage: str
    reason: str = ""
    rollout: str = ""
    units: int = 0


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion as asked for; `state` is open, approved or rejected."""

    id: int | None
    model: str
    version: str
    digest: bytes
    from_stage: str
    to_stage: str
    requested_by: str
    requested_s: float
    justification: str
    state: str = "open"
    decided_by: str = ""
    decided_s: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class UnitVersion:
    """A unit began to serve a version; `rollout` is empty where an operator or guard chose it."""

    id: int | None
    at_s: float
    connection: str
    unit: str
    model: str
    version: str
    digest: bytes
    owner: str
    rollout: str


def put_event(db: Database, row: VersionEvent) -> None:
    rows.put(db, "version_events", row)


def events(db: Database, model: str, version: str | None = None) -> list[VersionEvent]:
    """Oldest first."""
    where, args = "WHERE model = ?", [model]
    if version is not None:
        where, args = f"{where} AND version = ?", [model, version]
    return rows.many(db, VersionEvent, "version_events", f"{where} ORDER BY id", args)


def put_served(db: Database, row: UnitVersion) -> None:
    rows.put(db, "unit_versions", row)


def served(db: Database, model: str, connection: str | None, limit: int) -> list[UnitVersion]:
    """The newest `limit` of a model, on one connection or anywhere; oldest first."""
    where, args = "WHERE model = ?", [model]
    if connection is not None:
        where, args = f"{where} AND connection = ?", [model, connection]
    tail = f"{where} ORDER BY id DESC LIMIT ?"
    return rows.many(db, UnitVersion, "unit_versions", tail, [*args, limit])[::-1]


def set_stage(db: Database, digest: bytes, stage: str) -> None:
    db.execute("UPDATE bundles SET stage = ? WHERE digest = ?", (stage, digest))


def set_pin(db: Database, digest: bytes, who: str) -> None:
    """An empty `who` takes the pin out."""
    db.execute("UPDATE bundles SET pinned_by = ? WHERE digest = ?", (who, digest))


def put_promotion(db: Database, row: Promotion) -> None:
    rows.put(db, "promotions", row)


def open_promotion(db: Database, row: BundleRow) -> Promotion:
    """Raises StateError where nobody asked for one."""
    found = find_open_promotion(db, row.digest)
    if found is None:
        raise StateError(f"nobody asks for a promotion of {row.model}:{row.version}")
    return found


def find_open_promotion(db: Database, digest: bytes) -> Promotion | None:
    where = "WHERE digest = ? AND state = 'open'"
    return rows.one(db, Promotion, "promotions", where, (digest,))


def promotions(db: Database, model: str | None = None) -> list[Promotion]:
    """Oldest first."""
    where, args = ("", []) if model is None else ("WHERE model = ? ", [model])
    return rows.many(db, Promotion, "promotions", f"{where}ORDER BY id", args)


def serving_counts(db: Database, model: str) -> dict[bytes, int]:
    """On how many units each version serves now, as they reported last."""
    found = db.execute(
        "SELECT active_digest, count(*) FROM unit_models WHERE model = ? "
        "AND active_digest IS NOT NULL GROUP BY active_digest",
        (model,),
    ).fetchall()
    return dict(found)


def uses(db: Database, model: str) -> list[tuple[bytes, str, int, str]]:
    """(digest, how, how many, one of the units) of every version that some unit needs.

    How: `active`, `previous` (its way back), `candidate`, or `assigned` where it is still to come.
    """
    found: list[tuple[bytes, str, int, str]] = []
    for slot in ("active", "previous", "candidate"):
        found += db.execute(
            f"SELECT {slot}_digest, '{slot}', count(*), min(connection || '/' || unit) "
            f"FROM unit_models WHERE model = ? AND {slot}_digest IS NOT NULL "
            f"GROUP BY {slot}_digest",
            (model,),
        ).fetchall()
    found += db.execute(
        "SELECT a.bundle_digest, 'assigned', count(*), min(a.connection || '/' || a.unit) "
        "FROM assignments a LEFT JOIN unit_models m ON m.connection = a.connection "
        "AND m.unit = a.unit AND m.model = a.model WHERE a.model = ? "
        "AND m.active_digest IS NOT a.bundle_digest GROUP BY a.bundle_digest",
        (model,),
    ).fetchall()
    return found


def ways_back(db: Database, model: str) -> list[tuple[bytes, str, int, str]]:
    """(digest, rollout, how many, one of the units): where each rollout found the units whose
    assignment is still its own. There a revert takes them, also long after its end."""
    found = db.execute(
        "SELECT json_extract(p.document, '$.before'), a.rollout, count(*), "
        "min(a.connection || '/' || a.unit) FROM assignments a JOIN rollout_parts p "
        "ON p.rollout = a.rollout AND p.part = 'member/' || a.connection || '/' || a.unit "
        "WHERE a.model = ? AND json_extract(p.document, '$.before') IS NOT NULL GROUP BY 1, 2",
        (model,),
    ).fetchall()
    return [(bytes.fromhex(digest), *rest) for digest, *rest in found]


def run_by_groups(db: Database, model: str) -> list[tuple[bytes, str]]:
    """(digest, group): what dynamic groups run, so whoever joins them gets it."""
    return db.execute(
        "SELECT r.bundle_digest, g.name FROM group_runs g JOIN rollouts r ON r.id = g.rollout "
        "WHERE g.model = ? ORDER BY g.name",
        (model,),
    ).fetchall()
