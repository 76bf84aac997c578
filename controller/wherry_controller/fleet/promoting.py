"""Stages and pins of versions as operators move them: asked for, approved, rejected, archived.

An operator's side of a version's life; `life` writes it down.
"""

from dataclasses import replace

from wherry_protocol.errors import StateError

from wherry_controller.core.permissions import Role
from wherry_controller.core.registry import stages
from wherry_controller.core.registry.gates import check_gates
from wherry_controller.core.registry.stages import Move, Request, Stage
from wherry_controller.fleet import desires, gating, life, protecting
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import versions
from wherry_controller.store.registry import BundleRow
from wherry_controller.store.versions import Promotion


def ask(
    org: Organization,
    row: BundleRow,
    target: Stage,
    who: str,
    role: Role,
    why: str,
    now_s: float,
    *,
    skips_staging: bool,
) -> Promotion:
    """Ask for a promotion; it waits for somebody else. Raises StateError, ForbiddenError."""
    pending = versions.find_open_promotion(org.db, row.digest)
    if pending is not None:
        raise StateError(
            f"{pending.requested_by} asks already for {pending.to_stage} of "
            f"{row.model}:{row.version}: approve or reject that first"
        )
    found = stages.ask(Stage(row.stage), target, skips_staging=skips_staging, role=role)
    asked = Promotion(
        None, row.model, row.version, row.digest, row.stage, target.value, who, now_s, why
    )
    versions.put_promotion(org.db, asked)
    life.note(org, row, row.stage, who, "promotion asked", why, now_s, target=target.value,
          skips_staging=found is Move.SKIP)  # fmt: skip
    return asked


def approve(
    org: Organization, row: BundleRow, who: str, why: str, now_s: float, *, overrides_gates: bool
) -> BundleRow:
    """Let it through. Into production its gates must pass, or be overridden with a reason."""
    asked = versions.open_promotion(org.db, row)
    request = Request(Stage(asked.from_stage), Stage(asked.to_stage), asked.requested_by)
    target = stages.approve(request, Stage(row.stage), who)
    gates = gating.gates(org.db, org.registry, row, now_s)
    failed = [gate.name for gate in gates if not gate.is_passed]
    if overrides_gates and not why:
        raise StateError("gates are overridden with a reason only: give --reason")
    if target is Stage.PRODUCTION and not overrides_gates:
        check_gates(desires.manifest_of(row.manifest), gates)
    _decide(org, asked, "approved", who, why, now_s)
    details = {"gates_failed": failed, "overrides_gates": overrides_gates}
    return life.move(org, row, target, who, "promotion approved", why, now_s, **details)


def reject(org: Organization, row: BundleRow, who: str, why: str, now_s: float) -> BundleRow:
    """Turn the promotion down; the version stays where it is."""
    asked = versions.open_promotion(org.db, row)
    _decide(org, asked, "rejected", who, why, now_s)
    life.note(org, row, row.stage, who, "promotion rejected", why, now_s, target=asked.to_stage)
    return row


def archive(org: Organization, row: BundleRow, who: str, why: str, now_s: float) -> BundleRow:
    """Take it out of use for good. Raises StateError where somebody needs it."""
    target = stages.archive(Stage(row.stage), protecting.why(org, row))
    pending = versions.find_open_promotion(org.db, row.digest)
    if pending is not None:
        _decide(org, pending, "rejected", who, f"archived: {why}", now_s)
    return life.move(org, row, target, who, "archived", why, now_s)


def pin(org: Organization, row: BundleRow, who: str, why: str, now_s: float) -> BundleRow:
    """Keep it whatever retention says."""
    versions.set_pin(org.db, row.digest, who)
    life.note(org, row, row.stage, who, "pinned", why, now_s)
    return replace(row, pinned_by=who)


def unpin(org: Organization, row: BundleRow, who: str, why: str, now_s: float) -> BundleRow:
    """Retention may take it again. Raises StateError where it is not pinned."""
    if not row.pinned_by:
        raise StateError(f"{row.model}:{row.version} is not pinned")
    versions.set_pin(org.db, row.digest, "")
    life.note(org, row, row.stage, who, "unpinned", why, now_s)
    return replace(row, pinned_by="")


def check_deployable(row: BundleRow) -> None:
    """Raises StateError for an archived version."""
    if Stage(row.stage) is Stage.ARCHIVED:
        raise StateError(
            f"{row.model}:{row.version} is archived: "
            f"`wherry registry promote {row.model}:{row.version} --to development` brings it back"
        )


def _decide(
    org: Organization, asked: Promotion, state: str, who: str, why: str, now_s: float
) -> None:
    decided = replace(asked, state=state, decided_by=who, decided_s=now_s, reason=why)
    versions.put_promotion(org.db, decided)
