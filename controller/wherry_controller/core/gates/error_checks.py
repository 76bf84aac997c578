"""Checks of what went wrong: failed updates, errors, an increase of errors, crashes.

Rules:
1. Errors fail above the fixed limit with enough requests, or earlier where the devices' error
   rates prove that their mean is above it.
2. An increase fails when it is proved against the control group's devices AND is at least
   `error_increase_min`; from 0.10 % to 0.21 % is no reason, however certain. One that is large and
   not proved lets nobody pass.
3. Updates fail when it is proved that more than `update_failure_max` of the devices reject or
   revert the version. All devices that were asked count, as not failed until they have: a refusal
   comes within seconds and a success takes its trial, so whoever counts only what has ended sees
   the failures first and stops healthy rollouts. Silence has rules of its own (`judging`) and is
   told beside it.
"""

from dataclasses import dataclass

from wherry_controller.core.gates.checks import (
    Check,
    Figure,
    Verdict,
    evidence_text,
    is_proved,
    proof,
    too_few,
)
from wherry_controller.core.gates.limits import GateLimits
from wherry_controller.core.gates.panel import Panel
from wherry_controller.core.gates.pools import Pool
from wherry_controller.core.statistics import excess_evidence


@dataclass(frozen=True, slots=True)
class Updates:
    """How the updates of the devices that were asked ended; silent ones among them, and among the
    control group."""

    asked: int
    failed: int
    confirmed: int = 0
    silent: int = 0
    control_silent: int = 0
    control_units: int = 0


def check_updates(limits: GateLimits, updates: Updates) -> Check:
    """Failed updates, one result per device (rule 3)."""
    asked, failed = updates.asked, updates.failed
    evidence = excess_evidence(failed, asked, limits.update_failure_max)
    figures: dict[str, Figure] = {
        "failed": failed,
        "confirmed": updates.confirmed,
        "asked": asked,
        "tolerated": limits.update_failure_max,
        "silent": updates.silent,
        "control_silent": updates.control_silent,
        "control_units": updates.control_units,
        **proof(evidence, limits.false_abort),
    }
    text = f"{failed} of {asked} updates failed, {limits.update_failure_max:.2g} tolerated"
    if updates.silent:
        text += f", {updates.silent} silent"
    text += f"; {evidence_text(evidence, limits.false_abort)}"
    if is_proved(evidence, limits.false_abort):
        return Check("update", "", Verdict.FAIL, text, figures)
    has_result = updates.confirmed + failed > 0
    return Check("update", "", Verdict.PASS if has_result else Verdict.INCONCLUSIVE, text, figures)


def check_errors(limits: GateLimits, pool: Pool, panel: Panel) -> Check:
    """Failed inferences against `error_rate_max` (rule 1)."""
    rate, requests = pool.error_rate, pool.inferences
    evidence = panel.errors.evidence
    figures: dict[str, Figure] = {
        "error_rate": rate,
        "error_rate_max": limits.error_rate_max,
        "requests": requests,
        "requests_min": limits.requests_min,
        "devices": panel.errors.count,
        **proof(evidence, limits.false_abort),
    }
    proved = evidence_text(evidence, limits.false_abort)
    is_enough = requests >= limits.requests_min
    if is_enough and rate is not None and rate > limits.error_rate_max:
        text = f"error rate {rate:.4f} of {requests}, the limit is {limits.error_rate_max:g}"
        return Check("errors", "", Verdict.FAIL, f"{text}; {proved}", figures)
    if is_proved(evidence, limits.false_abort):
        text = (
            f"{panel.errors.count} devices prove a mean error rate above"
            f" {limits.error_rate_max:g}: {proved}"
        )
        return Check("errors", "", Verdict.FAIL, text, figures)
    if not is_enough or rate is None:
        text = f"{too_few(requests, limits.requests_min)}; {proved}"
        return Check("errors", "", Verdict.INCONCLUSIVE, text, figures)
    text = f"error rate {rate:.4f} of {requests}, at most {limits.error_rate_max:g}; {proved}"
    return Check("errors", "", Verdict.PASS, text, figures)


def check_increase(limits: GateLimits, new: Pool, other: Pool, basis: str, panel: Panel) -> Check:
    """More errors than the comparison has (rule 2)."""
    evidence = panel.increase.evidence
    figures: dict[str, Figure] = {
        "basis": basis,
        "error_rate": new.error_rate,
        f"error_rate_{basis}": other.error_rate,
        "increase_min": limits.error_increase_min,
        "requests": new.inferences,
        "requests_min": limits.requests_min,
        "devices": panel.increase.blocks,
        **proof(evidence, limits.false_abort),
    }
    proved = evidence_text(evidence, limits.false_abort)
    now, then = new.error_rate, other.error_rate
    if now is None or new.inferences < limits.requests_min:
        text = f"{too_few(new.inferences, limits.requests_min)}; {proved}"
        return Check("increase", "", Verdict.INCONCLUSIVE, text, figures)
    if then is None or other.inferences < limits.requests_min:
        text = "nothing to compare with, neither a control group nor its own past"
        return Check("increase", "", Verdict.INCONCLUSIVE, text, figures)
    increase = now - then
    is_large = round(increase - limits.error_increase_min, 9) >= 0
    text = f"error rate {now:.4f} against {then:.4f} ({basis}), {increase:+.4f}; {proved}"
    if not is_large:
        return Check("increase", "", Verdict.PASS, text, figures)
    if is_proved(evidence, limits.false_abort):
        return Check("increase", "", Verdict.FAIL, text, figures)
    return Check("increase", "", Verdict.INCONCLUSIVE, f"large and not proved: {text}", figures)


def check_crash(limits: GateLimits, pool: Pool) -> Check:
    """Crashes of agent or engine on the new version; passes only with enough requests served."""
    figures: dict[str, Figure] = {
        "crashes": pool.crashes,
        "crashes_max": limits.crashes_max,
        "requests": pool.inferences,
        "requests_min": limits.requests_min,
    }
    if pool.crashes > limits.crashes_max:
        text = f"{pool.crashes} crashes, the limit is {limits.crashes_max}"
        return Check("crash", "", Verdict.FAIL, text, figures)
    if pool.inferences < limits.requests_min:
        text = too_few(pool.inferences, limits.requests_min)
        return Check("crash", "", Verdict.INCONCLUSIVE, text, figures)
    return Check("crash", "", Verdict.PASS, f"{pool.crashes} crashes", figures)
