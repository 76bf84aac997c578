"""Retention carried out: versions that nobody needs go, and their blobs leave the vault.

Rules:
1. What goes is decided by `core/registry/retention.py` on what stands in the store at that moment,
   in the same transaction that deletes it.
2. A blob leaves when no bundle has it any more. Its row goes with the bundle's, and the digest is
   noted in `leavings`; only after that is committed is the file taken away, and only then the note.
   So a crash in between leaves a note, never a row without its file; a blob that was pushed again
   meanwhile stays.
3. Every deletion is in the version's history and in the audit log with its reasons.
"""

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlite_utils import Database
from wherry_protocol.version import Version

from wherry_controller.core.registry.retention import Candidate, Fate, Retention, fates
from wherry_controller.core.rollouts import Rollout
from wherry_controller.fleet import blobs, protecting, rollouts
from wherry_controller.fleet.organization import SYSTEM, Organization
from wherry_controller.store import leavings, meta, registry, versions
from wherry_controller.store.registry import BundleRow
from wherry_controller.store.versions import VersionEvent

POLICY = "retention.policy"
RAN_S = "retention.ran_s"
INTERVAL_S = 3600.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A version and its fate."""

    row: BundleRow
    fate: Fate


def policy(db: Database) -> Retention:
    """What the organization set, or the defaults, which delete nothing by themselves."""
    return Retention(**json.loads(meta.get(db, POLICY, "{}")))


def set_policy(org: Organization, wanted: Retention, who: str, why: str, now_s: float) -> Retention:
    settings = dataclasses.asdict(wanted)
    meta.put(org.db, POLICY, json.dumps(settings))
    org.record(now_s, who, "retention.set", org.name, why, **settings)
    return wanted


def judge(
    db: Database, open_ones: Collection[Rollout], now_s: float, model: str | None = None
) -> list[Judged]:
    """The fate of every version, model by model, newest first. Nothing is done."""
    wanted = policy(db)
    by_model: dict[str, list[BundleRow]] = {}
    for row in registry.bundles(db, model):
        by_model.setdefault(row.model, []).append(row)
    found = []
    for name, kept in by_model.items():
        needed = protecting.protected(db, name, open_ones)
        for row in kept:
            asked = versions.find_open_promotion(db, row.digest)
            if asked is not None:
                needed.setdefault(row.digest, []).append(f"waits for {asked.to_stage}")
        candidates = [
            Candidate(r.digest, Version.parse(r.version), r.accuracy, r.pushed_s, r.pinned_by)
            for r in kept
        ]
        rows = {row.digest: row for row in kept}
        found += [
            Judged(rows[fate.candidate.digest], fate)
            for fate in fates(candidates, needed, wanted, now_s)
        ]
    return found


def run(org: Organization, who: str, why: str, now_s: float, model: str | None) -> list[Judged]:
    """Delete what may go; the fate of everything, as it was judged."""
    rollouts.keep(org, now_s)  # where they would take devices back to is read from what is kept
    found = judge(org.db, rollouts.open_ones(org), now_s, model)
    gone = [one for one in found if not one.fate.is_kept]
    for one in gone:
        _delete(org, one, who, now_s)
    meta.put(org.db, RAN_S, str(now_s))
    if gone or who != SYSTEM:
        deleted = {f"{one.row.model}:{one.row.version}": list(one.fate.reasons) for one in gone}
        org.record(now_s, who, "retention.run", org.name, why, deleted=deleted,
                   kept=len(found) - len(gone))  # fmt: skip
    return found


def run_scheduled(org: Organization, now_s: float) -> None:
    """Once an hour where the organization asked for it, and soon after a rollout succeeded."""
    if policy(org.db).is_scheduled and now_s - float(meta.get(org.db, RAN_S, "0")) >= INTERVAL_S:
        run(org, SYSTEM, "scheduled", now_s, None)


def _delete(org: Organization, one: Judged, who: str, now_s: float) -> None:
    row, why = one.row, "; ".join(one.fate.reasons)
    for blob in registry.delete_bundle(org.db, row.digest):
        blobs.withdraw(org, blob.digest, now_s)
        registry.delete_blob(org.db, blob.digest)
        leavings.put(org.db, blob.digest, now_s)
    event = VersionEvent(
        None, now_s, row.model, row.version, row.digest, who, "deleted", row.stage, row.stage, why
    )
    versions.put_event(org.db, event)


def sweep(org: Organization) -> None:
    """Take away the files of blobs that left in an earlier transaction (rule 2)."""
    for digest in leavings.everyone(org.db):
        if registry.find_blob(org.db, digest) is None:
            org.vault.remove(digest)
        leavings.delete(org.db, digest)
