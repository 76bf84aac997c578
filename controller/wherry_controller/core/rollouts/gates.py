"""The rollout guard: compares the new version with those that do not run it.

Rules:
1. A check without the figures it needs is INCONCLUSIVE; a missing figure never passes.
2. Errors: the rate of the newest windows, pooled over classes, against a fixed limit; or, with
   fewer requests, a sequential test that may stop earlier and never overrules a breach.
3. Latency: p95 or p99 fails only with a ratio AND an absolute excess over the comparison.
4. The comparison is the control group in the same minutes; where that is too small, the
   members' own figures from before their swap; else there is none.
5. Energy: measured or calibrated figures may revert; data-sheet figures only alert.
6. What is not a number (or negative) was refused before it came here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from wherry_controller.core.rollouts.limits import GateLimits
from wherry_controller.core.rollouts.pools import Arm, Pool, Pools

QUANTILES: Final = (("p95", 0.95), ("p99", 0.99))
Figure = float | int | str | None


class Verdict(Enum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Consequence(Enum):
    """What a failed check does."""

    REVERT = "revert"
    HOLD = "hold"  # the stage is not left
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Check:
    """One check's outcome with the numbers it used. `hardware_class` is empty for all classes."""

    name: str
    hardware_class: str
    verdict: Verdict
    text: str
    figures: Mapping[str, Figure]
    consequence: Consequence = Consequence.REVERT


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a class's new figures are compared with, and where they come from."""

    new: Pool
    other: Pool
    basis: str  # "control", "before" or "none"


def evaluate(
    pools: Pools,
    limits: GateLimits,
    classes: Mapping[str, float | None],
    memory: Mapping[str, Sequence[float | None]],
    since: int,
) -> tuple[Check, ...]:
    """All checks, in the order of the decision tree.

    classes: class of each swapped member -> its energy budget in uJ (None: it has none).
    memory: class -> used share of the budget of each swapped member (None: not reported yet).
    since: the first bucket that counts.
    """
    pooled = Pool()
    for name in pools.classes(Arm.NEW):
        pooled.merge(pools.newest(Arm.NEW, name, limits.requests_min, since)[0])
    found: list[Check] = []
    for name in sorted(classes):
        compared = comparison(pools, limits, name, since)
        found.append(check_latency(limits, name, compared))
        if classes[name] is not None:
            found.append(check_energy(limits, name, compared))
        found.append(check_memory(limits, name, memory.get(name, ())))
    total = pools.total(Arm.NEW)
    return (check_errors(limits, pooled, total), check_crash(limits, pooled), *found)


def comparison(pools: Pools, limits: GateLimits, name: str, since: int) -> Comparison:
    """The newest figures of a class and what to hold against them (rule 4)."""
    new, first = pools.newest(Arm.NEW, name, limits.requests_min, since)
    control, _ = pools.newest(Arm.CONTROL, name, 1 << 62, first)
    if control.inferences >= limits.requests_min and len(control.units) >= limits.control_units_min:
        return Comparison(new, control, "control")
    before, _ = pools.newest(Arm.BEFORE, name, limits.requests_min, 0)
    if before.inferences >= limits.requests_min:
        return Comparison(new, before, "before")
    return Comparison(new, Pool(), "none")


def check_errors(limits: GateLimits, pool: Pool, total: tuple[int, int]) -> Check:
    """Failed inferences against `error_rate_max` (rule 2)."""
    rate, requests = pool.error_rate, pool.inferences
    evidence = sequential_evidence(total[0], total[1], limits.error_rate_max)
    figures: dict[str, Figure] = {
        "error_rate": rate,
        "error_rate_max": limits.error_rate_max,
        "requests": requests,
        "requests_min": limits.requests_min,
        "evidence": evidence,
        "evidence_max": 1 / limits.false_abort,
    }
    is_enough = requests >= limits.requests_min
    if is_enough and rate is not None and rate > limits.error_rate_max:
        text = f"error rate {rate:.4f} of {requests}, the limit is {limits.error_rate_max:g}"
        return Check("errors", "", Verdict.FAIL, text, figures)
    if evidence >= 1 / limits.false_abort:
        text = (
            f"{total[1]} errors of {total[0]}: above {limits.error_rate_max:g}"
            f" with a false-abort chance of {limits.false_abort:g}"
        )
        return Check("errors", "", Verdict.FAIL, text, figures)
    if not is_enough or rate is None:
        return Check("errors", "", Verdict.INCONCLUSIVE, _too_few(requests, limits), figures)
    text = f"error rate {rate:.4f} of {requests}, at most {limits.error_rate_max:g}"
    return Check("errors", "", Verdict.PASS, text, figures)


def sequential_evidence(requests: int, errors: int, limit: float) -> float:
    """An e-value against "the error rate is at most `limit`": the mean likelihood ratio of rates
    above it. The chance that it ever reaches 1/a is at most a, however often one looks (Ville's
    inequality), for inferences that fail independently. At most 1e300.
    """
    if not 0.0 < limit < 0.5:
        return 0.0
    rates = [rate for k in range(1, 12) if (rate := limit * 2**k) < 0.9] + [0.9]
    logs = [
        errors * math.log(rate / limit) + (requests - errors) * math.log((1 - rate) / (1 - limit))
        for rate in rates
    ]
    highest = max(logs)
    if highest < -690:
        return 0.0
    total = math.log(sum(math.exp(log - highest) for log in logs) / len(logs)) + highest
    return math.exp(min(total, 690.0)) if total > -690 else 0.0


def check_latency(limits: GateLimits, name: str, compared: Comparison) -> Check:
    """p95 and p99 of one class (rule 3)."""
    new, other = compared.new, compared.other
    figures: dict[str, Figure] = {
        "basis": compared.basis,
        "requests": new.latency_count,
        "requests_min": limits.requests_min,
        "ratio_max": limits.latency_ratio,
        "excess_us_max": limits.latency_excess_us,
    }
    if new.latency_count < limits.requests_min:
        return Check(
            "latency", name, Verdict.INCONCLUSIVE, _too_few(new.latency_count, limits), figures
        )
    if other.latency_count < limits.requests_min:
        text = f"class {name}: nothing to compare with, neither a control group nor its own past"
        return Check("latency", name, Verdict.INCONCLUSIVE, text, figures)
    breaches = []
    for label, q in QUANTILES:
        now_us, then_us = new.latency_us(q) or 0.0, other.latency_us(q) or 0.0
        figures |= {f"{label}_us": now_us, f"{label}_us_{compared.basis}": then_us}
        text = f"{label} {now_us:.0f} us against {then_us:.0f} us ({compared.basis})"
        if exceeds(now_us, then_us, limits.latency_ratio, limits.latency_excess_us):
            breaches.append(text)
    if breaches:
        text = (
            f"class {name}: {' and '.join(breaches)}, more than {limits.latency_ratio:g}x"
            f" and {limits.latency_excess_us:g} us above"
        )
        return Check("latency", name, Verdict.FAIL, text, figures)
    text = f"class {name}: {text}, within {limits.latency_ratio:g}x"
    return Check("latency", name, Verdict.PASS, text, figures)


def exceeds(value: float, other: float, ratio: float, excess: float) -> bool:
    """Is `value` above the other by the ratio AND by the absolute excess? At both: no."""
    return value > round(other * ratio, 6) and round(value - other, 6) > excess


def check_energy(limits: GateLimits, name: str, compared: Comparison) -> Check:
    """Mean energy per inference of one class (rule 5)."""
    new, other = compared.new, compared.other
    trusted = new.energy_inferences >= limits.requests_min
    now_uj, then_uj = new.trusted_uj, other.trusted_uj
    if not trusted or other.energy_inferences < limits.requests_min:
        trusted = False
        now_uj, then_uj = new.datasheet_uj, other.datasheet_uj
        if min(new.sheet_inferences, other.sheet_inferences) < limits.requests_min:
            now_uj = None
    consequence = Consequence.REVERT if trusted else Consequence.ALERT
    source = "measured or calibrated" if trusted else "data sheet"
    figures: dict[str, Figure] = {
        "energy_uj": now_uj,
        f"energy_uj_{compared.basis}": then_uj,
        "ratio_max": limits.energy_ratio,
        "excess_uj_max": limits.energy_excess_uj,
        "source": source,
    }
    if now_uj is None or then_uj is None:
        text = f"class {name}: no two energy figures of {limits.requests_min} inferences each"
        return Check("energy", name, Verdict.INCONCLUSIVE, text, figures, consequence)
    is_breach = exceeds(now_uj, then_uj, limits.energy_ratio, limits.energy_excess_uj)
    text = (
        f"class {name}: {now_uj:.1f} uJ against {then_uj:.1f} uJ ({compared.basis}, {source}),"
        f" {'above' if is_breach else 'within'} {limits.energy_ratio:g}x"
    )
    verdict = Verdict.FAIL if is_breach else Verdict.PASS
    return Check("energy", name, verdict, text, figures, consequence)


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
        text = _too_few(pool.inferences, limits)
        return Check("crash", "", Verdict.INCONCLUSIVE, text, figures)
    return Check("crash", "", Verdict.PASS, f"{pool.crashes} crashes", figures)


def check_memory(limits: GateLimits, name: str, shares: Sequence[float | None]) -> Check:
    """The highest used share of the memory budget; above the limit the stage is held."""
    known = [share for share in shares if share is not None]
    figures: dict[str, Figure] = {
        "share": max(known, default=None),
        "share_max": limits.memory_share_max,
        "units": len(shares),
        "units_reported": len(known),
    }
    if known and max(known) > limits.memory_share_max:
        text = f"class {name}: {max(known):.0%} of the memory budget used"
        verdict = Verdict.FAIL
    elif not known or len(known) < len(shares):
        text = f"class {name}: {len(known)} of {len(shares)} devices reported their memory"
        verdict = Verdict.INCONCLUSIVE
    else:
        text = f"class {name}: at most {max(known):.0%} of the memory budget used"
        verdict = Verdict.PASS
    return Check("memory", name, verdict, text, figures, Consequence.HOLD)


def breaches(checks: Sequence[Check], consequence: Consequence) -> list[Check]:
    """The failed checks with that consequence."""
    return [c for c in checks if c.verdict is Verdict.FAIL and c.consequence is consequence]


def is_passed(checks: Sequence[Check], require: Sequence[str]) -> bool:
    """May the stage be left? Every required check passes, or fails in a way that only alerts."""
    return bool(checks) and not blocking(checks, require)


def blocking(checks: Sequence[Check], require: Sequence[str]) -> list[Check]:
    """The checks that keep the stage from being left."""
    return [
        check
        for check in checks
        if check.name in require
        and check.verdict is not Verdict.PASS
        and not (check.verdict is Verdict.FAIL and check.consequence is Consequence.ALERT)
    ]


def _too_few(requests: int, limits: GateLimits) -> str:
    return f"{requests} inferences, at least {limits.requests_min} are needed"
