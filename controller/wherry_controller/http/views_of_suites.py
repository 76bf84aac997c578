"""What the API shows of suites: runs, units, steps."""

from typing import Any

from sqlite_utils import Database

from wherry_controller.core.assurance.keeping import exam_from_json, result_row
from wherry_controller.store import registry
from wherry_controller.store import verifications as kept
from wherry_controller.store.verifications import Examination, Verification


def verifications(db: Database, limit: int) -> list[dict[str, Any]]:
    return [_head(row) for row in kept.newest(db, limit)]


def about(db: Database, target: str, digest: bytes) -> list[dict[str, Any]]:
    """Runs that belong to a rollout, or looked at its bundle."""
    return [_head(row) for row in kept.about(db, target, digest)]


def verification(db: Database, run_id: str, *, is_brief: bool = False) -> dict[str, Any]:
    """One run in full, or how it stands without its units."""
    found = _head(kept.get(db, run_id)) | {"counts": kept.counts(db, run_id)}
    if is_brief:
        return found
    versions = {row.digest: row.version for row in registry.bundles(db)}
    return found | {"units": [_examination(row, versions) for row in kept.exams_of(db, run_id)]}


def _head(row: Verification) -> dict[str, Any]:
    return {
        "id": row.id,
        "suite": row.suite,
        "target": row.target,
        "model": row.model,
        "who": row.who,
        "reason": row.reason,
        "outcome": row.outcome,
        "began_s": row.began_s,
        "ended_s": row.ended_s,
        "duration_s": None if row.ended_s is None else row.ended_s - row.began_s,
    }


def _examination(row: Examination, versions: dict[bytes, str]) -> dict[str, Any]:
    exam = exam_from_json(row.document)
    return {
        "unit": f"{row.connection}/{row.unit}",
        "class": row.hardware_class,
        "environment": row.environment,
        "model": row.model,
        "version": versions.get(row.digest, ""),
        "digest": row.digest.hex(),
        "outcome": row.outcome,
        "failure": row.failure,
        "steps": [result_row(result) for result in exam.results],
    }
