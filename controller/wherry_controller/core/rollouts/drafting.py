"""How a rollout begins: from a bundle's manifest, a plan and the units that were selected.

Membership is frozen here: ranked once by SHA-256 of (salt, unit), and never grown.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from wherry_protocol.errors import Code, ContractError, StateError, WherryError
from wherry_protocol.frozen import quick
from wherry_protocol.manifest import Budget, Manifest, Policy
from wherry_protocol.messages.desired import TrialLimits

from wherry_controller.core.link_clock import LinkClock
from wherry_controller.core.plans.plan import Plan
from wherry_controller.core.plans.stages import fitted
from wherry_controller.core.rollouts.members import Member, MemberPhase
from wherry_controller.core.rollouts.state import ClassTerms, Progress, Rollout
from wherry_controller.core.subset import ordered

ALREADY_RUNNING: Final = "already running this bundle"
LATENCY_TOLERANCE: Final = 1.5  # of the class budget, on the mean: as the standing guard's
ENERGY_TOLERANCE: Final = 1.25


@quick
@dataclass(frozen=True, slots=True)
class Candidate:
    """A selected unit (`connection/unit`), the digest that it runs now, and its label `env`."""

    unit: str
    hardware_class: str
    running: bytes | None = None
    environment: str = ""


def draft(
    rollout_id: str,
    manifest: Manifest,
    digest: bytes,
    plan: Plan,
    candidates: Iterable[Candidate],
    *,
    created_by: str,
    now_s: float,
    claimed: Mapping[tuple[str, str], str] | None = None,
) -> Rollout:
    """A rollout in DRAFT; the salt is its id. `claimed`: (unit, model) -> open rollout's id.

    Raises ContractError(NO_BUDGET) for a class without a budget in the manifest, StateError where
    another rollout holds a unit, WherryError(NOT_FOUND) if nobody was selected.
    """
    chosen = {candidate.unit: candidate for candidate in candidates}
    if not chosen:
        raise WherryError(
            f"rollout of {manifest.model} {manifest.version}: the target selects no unit",
            Code.NOT_FOUND,
        )
    _check_unclaimed(manifest.model, chosen, claimed or {})
    environments = sorted({c.environment for c in chosen.values() if c.environment})
    plan = replace(
        plan, stages=fitted(plan.stages, len(chosen)), environment=", ".join(environments)
    )
    salt = rollout_id.encode()
    members = {
        unit: _member(index, chosen[unit], digest)
        for index, unit in enumerate(ordered(salt, chosen))
    }
    return Rollout(
        rollout_id,
        manifest.model,
        manifest.version,
        digest,
        salt,
        created_by,
        now_s,
        plan,
        _terms(manifest, plan, chosen.values()),
        members,
        progress=Progress(subset_bp=plan.subset_bp),
        link=LinkClock(up_since_s=now_s),
    )


def _member(index: int, candidate: Candidate, digest: bytes) -> Member:
    member = Member(index, candidate.unit, candidate.hardware_class)
    if candidate.running == digest:
        member.phase, member.reason = MemberPhase.SKIPPED, ALREADY_RUNNING
    return member


def _check_unclaimed(
    model: str, chosen: Mapping[str, Candidate], claimed: Mapping[tuple[str, str], str]
) -> None:
    if not claimed:
        return
    taken = sorted(unit for unit in chosen if (unit, model) in claimed)
    if taken:
        others = sorted({claimed[unit, model] for unit in taken})
        raise StateError(
            f"{len(taken)} of {len(chosen)} units (first {taken[0]}) belong to the open rollout"
            f" {', '.join(others)} of {model}; widen, abort or await it, or queue this one"
            f" with after = {others[0]}"
        )


def _terms(
    manifest: Manifest, plan: Plan, candidates: Iterable[Candidate]
) -> dict[str, ClassTerms]:
    classes = sorted({candidate.hardware_class for candidate in candidates})
    missing = [name for name in classes if name not in manifest.budgets]
    if missing:
        raise ContractError(
            f"{manifest.model} {manifest.version} has no budget for class {', '.join(missing)}"
            f" (it has {', '.join(sorted(manifest.budgets)) or 'none'})",
            Code.NO_BUDGET,
        )
    return {
        name: ClassTerms(
            trial_limits(plan.trial, manifest.budgets[name], manifest.policy),
            manifest.budgets[name].energy_uj,
        )
        for name in classes
    }


def trial_limits(trial: TrialLimits, budget: Budget, policy: Policy) -> TrialLimits:
    """The trial of one class: the plan's, inside the release policy, with the class's budget
    where the plan names no limit of its own."""
    return replace(
        trial,
        good_inferences_min=max(trial.good_inferences_min, policy.good_inferences_min),
        trial_s_min=max(trial.trial_s_min, float(policy.trial_s_min)),
        trial_s_max=max(trial.trial_s_max, float(policy.trial_s_min), 1.0),
        error_rate_max=min(trial.error_rate_max, policy.error_rate_max),
        unconfirmed_starts_max=min(trial.unconfirmed_starts_max, policy.unconfirmed_starts_max),
        may_confirm_by_golden=trial.may_confirm_by_golden and policy.may_confirm_by_golden,
        latency_us_mean_max=trial.latency_us_mean_max
        or int(budget.latency_us_p95 * LATENCY_TOLERANCE),
        energy_uj_max=trial.energy_uj_max or (budget.energy_uj or 0.0) * ENERGY_TOLERANCE,
    )
