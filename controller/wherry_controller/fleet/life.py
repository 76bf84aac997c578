"""A version's life, written down: each step is one row of its history and one of the audit log."""

from dataclasses import replace

from wherry_controller.core.registry.stages import TRANSITIONS, Move, Stage
from wherry_controller.core.rollouts import Rollout, State
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.fleet.organization import SYSTEM, Organization
from wherry_controller.store import meta, registry, versions
from wherry_controller.store.registry import BundleRow
from wherry_controller.store.versions import VersionEvent

PRODUCTION = "production"  # the environment (label `env`) whose rollouts move a version


def move(
    org: Organization,
    row: BundleRow,
    target: Stage,
    who: str,
    action: str,
    why: str,
    now_s: float,
    **details: object,
) -> BundleRow:
    """The version in its new stage."""
    versions.set_stage(org.db, row.digest, target.value)
    note(org, row, target.value, who, action, why, now_s, **details)
    return replace(row, stage=target.value)


def note(
    org: Organization,
    row: BundleRow,
    stage: str,
    who: str,
    action: str,
    why: str,
    now_s: float,
    **details: object,
) -> None:
    """Something happened to the version, in the transaction that is open."""
    event = VersionEvent(
        None, now_s, row.model, row.version, row.digest, who, action, row.stage, stage, why
    )
    versions.put_event(org.db, event)
    subject = f"{row.model}:{row.version}"
    org.record(now_s, who, f"version.{action}", subject, why, stage=stage, **details)


def finished(org: Organization, rollout: Rollout, state: str, now_s: float) -> None:
    """A rollout ended: that is part of the version's history, and in production moves its stage."""
    row = registry.find_bundle(org.db, rollout.digest)
    confirmed = sum(m.phase is MemberPhase.CONFIRMED for m in rollout.members.values())
    if row is None:
        return
    target = Stage(row.stage)
    if state == State.SUCCEEDED.value:
        meta.put(org.db, "retention.ran_s", "0")  # what it replaced may go, if that is scheduled
    environments = rollout.plan.environment.split(", ")
    if state == State.SUCCEEDED.value and confirmed and PRODUCTION in environments:
        target = TRANSITIONS[target, Move.DEPLOY]
    if target is not Stage(row.stage):
        versions.set_stage(org.db, row.digest, target.value)
        org.record(now_s, SYSTEM, "version.stage", f"{row.model}:{row.version}",
                   f"rollout {rollout.rollout_id} {state}", stage=target.value)  # fmt: skip
    event = VersionEvent(
        None, now_s, row.model, row.version, row.digest, rollout.created_by, f"rollout {state}",
        row.stage, target.value, rollout.state_reason, rollout.rollout_id, confirmed,
    )  # fmt: skip
    versions.put_event(org.db, event)
