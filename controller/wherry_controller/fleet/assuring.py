"""Lets a rollout start, or says in one sentence why not: facts from the store, judged by the core.

What was found is kept with the rollout and audited with its start, and so is what an admin let
pass. In an emergency, everybody is told.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlite_utils import Database
from wherry_protocol.errors import Code, StateError, WherryError
from wherry_protocol.manifest import Manifest
from wherry_protocol.version import Version

from wherry_controller.core.assurance import (
    PRECONDITIONS,
    BackTarget,
    Demand,
    Facts,
    Finding,
    Judgement,
    Policy,
    Verdict,
    is_all_at_once,
    judge,
    judge_first,
    policy_for,
)
from wherry_controller.core.assurance.facts import Drill, Passed, Power, Shadowed
from wherry_controller.core.guard.limits import MISSED_REPORTS
from wherry_controller.core.notify import Cause, Kind
from wherry_controller.core.plans.stages import serves
from wherry_controller.core.rollouts import Rollout, State, restore
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.fleet import alerting, desires, gating, guarding, passing, rollouts
from wherry_controller.fleet.organization import Organization
from wherry_controller.settings import RegistrySettings
from wherry_controller.store import assurance as kept
from wherry_controller.store import deliveries, performance, registry, shadows, verifications
from wherry_controller.store import rollouts as notes
from wherry_controller.store.assurance import PapersRow
from wherry_controller.store.registry import BundleRow

UNSTARTED: Final = frozenset({State.DRAFT, State.APPROVED})


@dataclass(frozen=True, slots=True)
class Papers:
    """What is said beside the plan when a rollout is made. `forced`: items that may fail."""

    is_emergency: bool = False
    forced: frozenset[str] = frozenset()


NO_PAPERS: Final = Papers()


@dataclass(frozen=True, slots=True)
class Rules:
    """What the organization demands before a rollout starts. `policies`: by environment."""

    policies: Mapping[str, Policy]
    registry: RegistrySettings


def rules_of(org: Organization) -> Rules:
    return Rules(org.policies, org.registry)


def check_papers(papers: Papers, reason: str) -> None:
    """Raises WherryError(INVALID) for an unknown item, or where a reason is needed and missing."""
    unknown = sorted(papers.forced - PRECONDITIONS.keys())
    if unknown:
        known = ", ".join(PRECONDITIONS)
        raise WherryError(f"force: {', '.join(unknown)} is no precondition, known are {known}",
                          Code.INVALID)  # fmt: skip
    if (papers.forced or papers.is_emergency) and not reason.strip():
        what = "an emergency" if papers.is_emergency else "force"
        raise WherryError(f"{what} needs a reason", Code.INVALID)


def put_papers(org: Organization, rollout_id: str, papers: Papers) -> None:
    kept.put_papers(org.db, PapersRow(rollout_id, int(papers.is_emergency)))


def look(
    db: Database, rules: Rules, rollout: Rollout, papers: Papers, starter: str, now_s: float
) -> Judgement:
    """What holds for the rollout if `starter` started it now."""
    facts = _facts(db, rules, rollout, papers, starter, now_s)
    policy = policy_for(facts.environments, rules.policies)
    found = list(judge(facts, policy, papers.forced).findings)
    for bundle in passing.brought(db, rollout):
        first = replace(facts, **_of_version(db, rules, bundle, facts.classes, now_s))
        found += judge_first(first, policy, papers.forced).findings
    return Judgement(tuple(found))


def _facts(
    db: Database, rules: Rules, rollout: Rollout, papers: Papers, starter: str, now_s: float
) -> Facts:
    gated = [stage for stage in rollout.plan.stages if stage.is_gated]
    gate = rollout.plan.gate
    kept.select_units(
        db, (m.unit for m in rollout.members.values() if m.phase is not MemberPhase.SKIPPED)
    )
    practised = verifications.newest_drill(db, rollout.model)
    classes = kept.classes(db)
    quiet, example = kept.quiet(db, now_s, guarding.LIMITS.silent_s, MISSED_REPORTS)
    return Facts(
        model=rollout.model,
        now_s=now_s,
        created_by=rollout.created_by,
        started_by=starter,
        on_call=rollout.plan.on_call,
        is_emergency=papers.is_emergency,
        environments=kept.environments(db),
        classes=classes,
        is_all_at_once=is_all_at_once(rollout.plan),
        gated_stages=len(gated),
        stage_count=len(rollout.plan.stages),
        required=gate.require,
        gate=f"at most {gate.error_rate_max:.2%} errors, {gate.latency_ratio:g} x the latency,"
        f" from {gate.requests_min} requests on",
        quiet=quiet,
        quiet_example=example,
        drill=None if practised is None else Drill(*practised),
        alert_test=alerting.last_self_test(db),
        serves=serves(rollout.plan.stages),
        is_announced=deliveries.is_delivered(db, Kind.ANNOUNCED.value, rollout.rollout_id),
        **_of_version(db, rules, registry.bundle(db, rollout.digest), classes, now_s),
    )


def _of_version(
    db: Database, rules: Rules, bundle: BundleRow, classes: Iterable[str], now_s: float
) -> dict[str, Any]:
    """The facts that are a version's own, about the units that are selected."""
    manifest = desires.manifest_of(bundle.manifest)
    return {
        "version": bundle.version,
        "back": _back(db, bundle.model, manifest),
        "has_safe_output": manifest.contract.safe_output is not None,
        "passed": tuple(Passed(*row) for row in verifications.passed(db, bundle.digest)),
        "shadows": tuple(
            Shadowed(row.primary_digest.hex(), bool(row.is_passed), row.rollout, row.text)
            for row in shadows.newest_of(db, bundle.digest)
        ),
        "power": _power(db, bundle, manifest, classes),
        "host_tests": _host_tests(manifest),
        "stage": bundle.stage,
        "failed_gates": gating.failed(db, rules.registry, bundle, now_s),
    }


def _power(
    db: Database, bundle: BundleRow, manifest: Manifest, classes: Iterable[str]
) -> tuple[Power, ...]:
    """The highest figure on each class, by whichever method, beside the manifest's budget."""
    told = performance.power(db, bundle.model, bundle.digest)
    found = []
    for name in classes:
        budget = manifest.budgets.get(name)
        figures = [(mw, method) for hardware, method, mw in told if hardware == name]
        highest, method = max(figures, default=(None, ""))
        found.append(Power(name, None if budget is None else budget.power_mw, highest, method))
    return tuple(found)


def _host_tests(manifest: Manifest) -> tuple[int, int] | None:
    """(passed, not passed) of the report that the bundle pins."""
    made = manifest.provenance
    if made.tests_digest is None or made.tests_passed is None:
        return None
    return made.tests_passed, made.tests_failed or 0


def _back(db: Database, model: str, candidate: Manifest) -> tuple[BackTarget, ...]:
    floor = Version.parse(candidate.security_floor)
    found = []
    for group in kept.served(db, model):
        row = None if group.digest is None else registry.find_bundle(db, group.digest)
        manifest = None if row is None else desires.manifest_of(row.manifest)
        version = group.version or ""
        found.append(
            BackTarget(
                group.hardware_class,
                version,
                group.count,
                group.example,
                "" if group.digest is None else group.digest.hex(),
                is_in_registry=manifest is not None,
                has_budget=manifest is not None and group.hardware_class in manifest.budgets,
                is_above_floor=not version or Version.parse(version) >= floor,
                has_failed=bool(group.has_failed),
            )
        )
    return tuple(found)


def admit(
    org: Organization,
    rollout_id: str,
    starter: str,
    forced: frozenset[str],
    reason: str,
    now_s: float,
) -> None:
    """Keep and audit what was found. Raises StateError naming what keeps it from starting."""
    row = kept.papers(org.db, rollout_id)
    waited = forced | let_pass(row)  # it may have been looked at before, and have waited since
    papers = Papers(bool(row.is_emergency), waited)
    check_papers(papers, reason)
    rollout = rollouts.load(org, rollout_id)
    found = look(org.db, rules_of(org), rollout, papers, starter, now_s)
    if found.blockers:
        raise StateError(refusal(rollout_id, found.blockers))
    findings = [finding_row(finding) for finding in found.findings]
    kept.put_papers(org.db, PapersRow(rollout_id, row.is_emergency, json.dumps(findings), now_s))
    if findings:
        org.record(now_s, starter, "rollout.checks", rollout_id, reason, findings=findings)
    for finding in found.findings:
        if finding.is_forced:
            org.record(now_s, starter, "rollout.force", rollout_id, reason,
                       item=finding.item, found=finding.text)  # fmt: skip
    if papers.is_emergency:
        tell_of_emergency(org, rollout_id, rollout_id, starter, reason, now_s)


def let_pass(row: PapersRow) -> frozenset[str]:
    """What an admin let pass at its start."""
    return frozenset(found["item"] for found in json.loads(row.findings) if found["is_forced"])


def tell_of_emergency(
    org: Organization, subject: str, rollout_id: str, who: str, reason: str, now_s: float
) -> None:
    """An emergency is audited by itself, and everybody is told."""
    org.record(now_s, who, "emergency", subject, reason)
    text = f"EMERGENCY: {subject} by {who}: {reason}"
    notice = notes.Notice(None, now_s, "critical", f"emergency:{subject}", rollout_id, text,
                          Cause.EMERGENCY.value)  # fmt: skip
    notes.put_notice(org.db, notice)


def refusal(rollout_id: str, blockers: tuple[Finding, ...]) -> str:
    """One sentence: what fails, and what to do."""
    failed = "; ".join(f"{finding.item}: {finding.text}" for finding in blockers)
    return f"rollout {rollout_id} may not start: {failed}"


def finding_row(finding: Finding) -> dict[str, Any]:
    """One finding as JSON values."""
    return {
        "item": finding.item,
        "verdict": finding.verdict.value,
        "demand": finding.demand.value,
        "is_forced": finding.is_forced,
        "text": finding.text,
        "evidence": dict(finding.evidence),
    }


def checks(db: Database, rules: Rules, rollout_id: str, who: str, now_s: float) -> dict[str, Any]:
    """What holds now for a rollout that waits, or held when it started. Raises NotFoundError."""
    notes.get(db, rollout_id)
    rollout = restore(notes.parts(db, rollout_id))
    row = kept.papers(db, rollout_id)
    if rollout.state not in UNSTARTED:
        return shown(json.loads(row.findings), row)
    papers = Papers(bool(row.is_emergency))
    found = look(db, rules, rollout, papers, who, now_s)
    return shown([finding_row(finding) for finding in found.findings], row)


def shown(findings: list[Mapping[str, Any]], row: PapersRow) -> dict[str, Any]:
    """Findings and papers as JSON values."""
    blocked = [
        f["item"]
        for f in findings
        if f["demand"] == Demand.BLOCK.value
        and f["verdict"] != Verdict.PASSED.value
        and not f["is_forced"]
    ]
    return {
        "rollout": row.rollout,
        "may_start": not blocked,
        "blocked_by": blocked,
        "is_emergency": bool(row.is_emergency),
        "started_checked_s": row.checked_s,
        "checks": findings,
    }
