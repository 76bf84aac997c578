"""Checks of what an inference costs: latency, energy, memory.

Rules:
1. Latency fails where p95 or p99 has a ratio AND an absolute excess over the comparison, with
   enough requests, or earlier where the devices prove that too many inferences lie beyond that.
   p99 is held against its limit from 500 requests on, however few the gate asks for: of 100 it is
   the slowest one. The devices' proof looks at it before that.
2. Energy: measured or calibrated figures may revert; data-sheet figures only alert.
3. Memory holds the stage; it never reverts.
"""

from collections.abc import Sequence
from typing import Final

from wherry_controller.core.gates.checks import (
    Check,
    Consequence,
    Figure,
    Verdict,
    evidence_text,
    is_proved,
    proof,
    too_few,
)
from wherry_controller.core.gates.comparing import TAIL_REQUESTS_MIN, Comparison
from wherry_controller.core.gates.limits import GateLimits
from wherry_controller.core.gates.panel import Bar, Panel

QUANTILES: Final = (("p95", 0.95), ("p99", 0.99))


def bar_of(limits: GateLimits, compared: Comparison) -> Bar:
    """What the class's devices are held against; nothing where the comparison is too small."""
    other = compared.other
    if other.latency_count < limits.requests_min:
        return Bar()
    p95_ns, p99_ns = (_longest_ns(limits, other.latency_us(q) or 0.0) for _, q in QUANTILES)
    mean_uj = other.trusted_uj if other.energy_inferences >= limits.requests_min else None
    energy_uj = None if mean_uj is None else max(
        mean_uj * limits.energy_ratio, mean_uj + limits.energy_excess_uj
    )  # fmt: skip
    return Bar(p95_ns, p99_ns, energy_uj)


def _longest_ns(limits: GateLimits, other_us: float) -> float:
    return max(other_us * limits.latency_ratio, other_us + limits.latency_excess_us) * 1_000


def check_latency(
    limits: GateLimits, name: str, compared: Comparison, tail: Comparison, panel: Panel
) -> Check:
    """p95 of `compared` and p99 of `tail`, both of one class (rule 1)."""
    new, other = compared.new, compared.other
    evidence, devices = panel.evidence("p95", "p99", hardware_class=name)
    figures: dict[str, Figure] = {
        "basis": compared.basis,
        "requests": new.latency_count,
        "requests_min": limits.requests_min,
        "ratio_max": limits.latency_ratio,
        "excess_us_max": limits.latency_excess_us,
        "devices": devices,
        **proof(evidence, limits.false_abort),
    }
    proved = evidence_text(evidence, limits.false_abort)
    if is_proved(evidence, limits.false_abort):
        verdict, text = Verdict.FAIL, f"{devices} devices prove that too many inferences are slow"
    elif new.latency_count < limits.requests_min:
        verdict, text = Verdict.INCONCLUSIVE, too_few(new.latency_count, limits.requests_min)
    elif other.latency_count < limits.requests_min:
        verdict = Verdict.INCONCLUSIVE
        text = "nothing to compare with, neither a control group nor its own past"
    else:
        verdict, text = _quantiles(limits, compared, tail, figures)
    return Check("latency", name, verdict, f"class {name}: {text}; {proved}", figures)


def _quantiles(
    limits: GateLimits, compared: Comparison, tail: Comparison, figures: dict[str, Figure]
) -> tuple[Verdict, str]:
    """The fixed limits; the quantiles are added to the figures."""
    breaches, shown = [], []
    for label, q, held in (("p95", 0.95, compared), ("p99", 0.99, tail)):
        if label == "p99" and _requests(tail) < TAIL_REQUESTS_MIN:
            shown.append(f"p99 counts from {TAIL_REQUESTS_MIN} requests on")
            continue
        now_us, then_us = held.new.latency_us(q) or 0.0, held.other.latency_us(q) or 0.0
        figures |= {f"{label}_us": now_us, f"{label}_us_{held.basis}": then_us}
        text = f"{label} {now_us:.0f} us against {then_us:.0f} us ({held.basis})"
        shown.append(text)
        if exceeds(now_us, then_us, limits.latency_ratio, limits.latency_excess_us):
            breaches.append(text)
    if breaches:
        why = f"more than {limits.latency_ratio:g}x and {limits.latency_excess_us:g} us above"
        return Verdict.FAIL, f"{' and '.join(breaches)}, {why}"
    return Verdict.PASS, f"{' and '.join(shown)}, within {limits.latency_ratio:g}x"


def _requests(held: Comparison) -> int:
    return min(held.new.latency_count, held.other.latency_count)


def exceeds(value: float, other: float, ratio: float, excess: float) -> bool:
    """Is `value` above the other by the ratio AND by the absolute excess? At both: no."""
    return value > round(other * ratio, 6) and round(value - other, 6) > excess


def check_energy(limits: GateLimits, name: str, compared: Comparison, panel: Panel) -> Check:
    """Mean energy per inference of one class (rule 2)."""
    new, other = compared.new, compared.other
    evidence, devices = panel.evidence("energy", hardware_class=name)
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
        "devices": devices,
        **proof(evidence, limits.false_abort),
    }
    if is_proved(evidence, limits.false_abort):
        text = (
            f"class {name}: {devices} devices prove a mean energy above {limits.energy_ratio:g}x;"
            f" {evidence_text(evidence, limits.false_abort)}"
        )
        return Check("energy", name, Verdict.FAIL, text, figures, Consequence.REVERT)
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
