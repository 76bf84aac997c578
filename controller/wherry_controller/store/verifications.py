"""Suites that ran: one row per run, one per unit and model that it looked at."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.errors import NotFoundError

from wherry_controller.store import rows
from wherry_controller.store.assurance import OF_SELECTED


@dataclass(frozen=True, slots=True)
class Verification:
    """`outcome`: running, passed or failed. `plan` and `limits` are JSON."""

    id: str
    suite: str
    target: str
    model: str
    who: str
    reason: str
    began_s: float
    plan: str = "{}"
    ended_s: float | None = None
    outcome: str = "running"


@dataclass(frozen=True, slots=True)
class Examination:
    """One unit and model in a run. `digest` is what the verdict is about; `outcome`: waiting,
    open, passed or failed; `document` is the whole of it as JSON."""

    verification: str
    connection: str
    unit: str
    model: str
    suite: str
    digest: bytes
    hardware_class: str
    environment: str
    outcome: str
    failure: str
    ended_s: float | None
    document: str


@dataclass(frozen=True, slots=True)
class Serving:
    """What a selected unit has of a model."""

    connection: str
    unit: str
    hardware_class: str
    environment: str
    model: str
    active: bytes
    previous: bytes | None
    candidate: bytes | None
    performance_s: int
    assigned: bytes | None  # what it shall serve


def put(db: Database, row: Verification) -> None:
    rows.put(db, "verifications", row)


def get(db: Database, verification_id: str) -> Verification:
    """Raises NotFoundError."""
    found = rows.one(db, Verification, "verifications", "WHERE id = ?", (verification_id,))
    if found is None:
        raise NotFoundError(f"verification {verification_id!r} does not exist")
    return found


def newest(db: Database, limit: int) -> list[Verification]:
    """Newest first."""
    return rows.many(db, Verification, "verifications", "ORDER BY rowid DESC LIMIT ?", (limit,))


def running(db: Database) -> list[Verification]:
    return rows.many(db, Verification, "verifications", "WHERE outcome = 'running' ORDER BY rowid")


def passed(db: Database, digest: bytes) -> list[tuple[str, str, str]]:
    """(suite, class, environment) in which the bundle passed, each once."""
    sql = (
        "SELECT DISTINCT suite, hardware_class, environment FROM examinations "
        "WHERE digest = ? AND outcome = 'passed' ORDER BY 1, 2, 3"
    )
    return [(suite, name, where) for suite, name, where in db.execute(sql, (digest,)).fetchall()]


def about(db: Database, target: str, digest: bytes) -> list[Verification]:
    """Runs that name the target, or looked at the bundle; oldest first."""
    tail = (
        "WHERE target = ? OR id IN (SELECT verification FROM examinations WHERE digest = ?) "
        "ORDER BY rowid"
    )
    return rows.many(db, Verification, "verifications", tail, (target, digest))


def held_to_limits(db: Database, digest: bytes, since_s: float) -> list[tuple[str, str, str]]:
    """(run, unit, outcome) of deployments of the bundle that had limits and began since then;
    the newest run first."""
    sql = (
        "SELECT v.id, e.connection || '/' || e.unit, e.outcome FROM examinations e "
        "JOIN verifications v ON v.id = e.verification WHERE e.digest = ? "
        "AND e.suite = 'deployment' AND v.began_s >= ? "
        "AND EXISTS (SELECT 1 FROM json_each(e.document, '$.limits') l "
        "WHERE l.key GLOB '*_max' AND l.value IS NOT NULL) ORDER BY v.rowid DESC"
    )
    return [(run, unit, outcome)
            for run, unit, outcome in db.execute(sql, (digest, since_s)).fetchall()]  # fmt: skip


def newest_drill(db: Database, model: str) -> tuple[float, float, str] | None:
    """(ended_s, duration_s, unit) of the newest drill of the model that passed."""
    found: tuple[float, float, str] | None = db.execute(
        "SELECT e.ended_s, e.ended_s - v.began_s, e.connection || '/' || e.unit "
        "FROM verifications v JOIN examinations e ON e.verification = v.id "
        "WHERE v.suite IN ('drill', 'full') AND e.model = ? AND e.outcome = 'passed' "
        "ORDER BY e.ended_s DESC LIMIT 1",
        (model,),
    ).fetchone()
    return found


def put_exam(db: Database, row: Examination) -> None:
    rows.put(db, "examinations", row)


def put_exams(db: Database, found: list[Examination]) -> None:
    rows.put_all(db, "examinations", found)


def exams_of(db: Database, verification_id: str) -> list[Examination]:
    tail = "WHERE verification = ? ORDER BY connection, unit, model"
    return rows.many(db, Examination, "examinations", tail, (verification_id,))


def exams_in(db: Database, outcome: str, limit: int) -> list[Examination]:
    """At most `limit` that wait, or are open."""
    tail = "WHERE outcome = ? ORDER BY verification, connection, unit, model LIMIT ?"
    return rows.many(db, Examination, "examinations", tail, (outcome, limit))


def under_way(db: Database, model: str, suites: Sequence[str]) -> dict[str, str]:
    """unit (`connection/unit`) -> the run of one of these suites that waits or is open there."""
    found = db.execute(
        "SELECT connection || '/' || unit, verification FROM examinations "
        "WHERE outcome IN ('waiting', 'open') AND model = ? "
        "AND suite IN (SELECT value FROM json_each(?))",
        (model, json.dumps(suites)),
    ).fetchall()
    return dict(found)


def is_under_way(db: Database, verification_id: str) -> bool:
    """Has any of a run no verdict yet?"""
    sql = (
        "SELECT EXISTS (SELECT 1 FROM examinations INDEXED BY examinations_by_run "
        "WHERE verification = ? AND outcome IN ('waiting', 'open'))"
    )
    return bool(rows.scalar(db, sql, (verification_id,)))


def failed_of(db: Database, verification_id: str, limit: int) -> list[tuple[str, str]]:
    """(unit, why) of at most `limit` of a run that failed."""
    found = db.execute(
        "SELECT connection || '/' || unit, failure FROM examinations "
        "INDEXED BY examinations_by_run WHERE verification = ? AND outcome = 'failed' "
        "ORDER BY connection, unit, model LIMIT ?",
        (verification_id, limit),
    ).fetchall()
    return [(unit, why) for unit, why in found]


def counts(db: Database, verification_id: str) -> dict[str, int]:
    """Examinations of a run by outcome."""
    sql = (
        "SELECT outcome, count(*) FROM examinations INDEXED BY examinations_by_run "
        "WHERE verification = ? GROUP BY 1"
    )
    return dict(db.execute(sql, (verification_id,)).fetchall())


def serving(db: Database, model: str) -> list[Serving]:
    """What the selected units (`assurance.select_units`) serve: of that model, or of each."""
    found = db.execute(
        "SELECT u.connection, u.unit, u.hardware_class, "
        "coalesce(json_extract(c.labels, '$.env'), ''), m.model, m.active_digest, "
        "m.previous_digest, m.candidate_digest, u.performance_s, a.bundle_digest "
        f"FROM {OF_SELECTED} JOIN connections c ON c.name = u.connection "
        "JOIN unit_models m ON m.connection = u.connection AND m.unit = u.unit "
        "LEFT JOIN assignments a ON a.connection = m.connection AND a.unit = m.unit "
        "AND a.model = m.model WHERE m.active_digest IS NOT NULL AND (? = '' OR m.model = ?) "
        "ORDER BY u.connection, u.unit, m.model",
        (model, model),
    ).fetchall()
    return [Serving(*row) for row in found]
