"""What a shadow showed: agreement and latency beside the primary's, over all devices.

Rules:
1. Counts and sketches of all devices add without loss. The primary's latency is that on the very
   inputs that the shadow ran on, and both are the same kind of sketch.
2. Ready is: at least `shadow_requests_min` compared, agreement above `shadow_agreement_min`, and
   the shadow's p95 below `shadow_latency_ratio` times the primary's. Fewer is inconclusive.
3. It fails at once where the devices prove that their mean agreement is lower, one figure per
   device. A shadow that fails holds its stage: it served nobody, so there is nothing to revert.
4. What was not compared is counted by cause. Of the disagreements the newest `SAMPLES_MAX` stay, as
   digests of input and both outputs.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wherry_native import sketch as packed
from wherry_native.sketch import EMPTY, PackedSketch

from wherry_controller.core.gates.checks import (
    Check,
    Consequence,
    Figure,
    Verdict,
    evidence_text,
    is_proved,
    proof,
)
from wherry_controller.core.gates.limits import GateLimits
from wherry_controller.core.statistics import Wealth, agreement_interval

SAMPLES_MAX: Final = 50
DEVICE_COMPARED_MIN: Final = 50
QUANTILES: Final = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))


@dataclass(frozen=True, slots=True)
class ShadowFigures:
    """One report of one device's shadow. `by_comparator`: how many agreed by each; `samples` are
    lines of sequence and digests of input, primary and shadow output."""

    compared: int
    agreed: int
    by_comparator: Mapping[str, int] = field(default_factory=dict)
    errors: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    latency: PackedSketch = EMPTY
    primary_latency: PackedSketch = EMPTY
    samples: tuple[str, ...] = ()


@dataclass(slots=True)
class Shadowing:
    """All of it. `devices` is unit -> [compared, agreed]."""

    devices: dict[str, list[int]] = field(default_factory=dict)
    by_comparator: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    latency: bytes = EMPTY.data
    primary_latency: bytes = EMPTY.data
    samples: list[tuple[str, str]] = field(default_factory=list)  # (unit, line)
    disagreement: Wealth = field(default_factory=Wealth)

    def add(self, unit: str, seen: ShadowFigures, limits: GateLimits) -> None:
        """Count a report in."""
        device = self.devices.setdefault(unit, [0, 0])
        was_counted = device[0] >= DEVICE_COMPARED_MIN
        device[0] += seen.compared
        device[1] += seen.agreed
        if not was_counted and device[0] >= DEVICE_COMPARED_MIN:
            tolerated = 1 - limits.shadow_agreement_min
            if 0.0 < tolerated < 1.0:
                self.disagreement.add(1 - min(device[1], device[0]) / device[0], tolerated)
        self.by_comparator.update(seen.by_comparator)
        self.skipped.update(seen.skipped)
        self.errors += seen.errors
        self.latency = packed.merge(self.latency, seen.latency.data)
        self.primary_latency = packed.merge(self.primary_latency, seen.primary_latency.data)
        self.samples += [(unit, line) for line in seen.samples]
        del self.samples[:-SAMPLES_MAX]

    @property
    def compared(self) -> int:
        return sum(compared for compared, _ in self.devices.values())

    @property
    def agreement(self) -> float | None:
        """The share of compared inferences that agreed; None while there are none."""
        compared = self.compared
        agreed = sum(agreed for _, agreed in self.devices.values())
        return agreed / compared if compared else None


def latencies_us(data: bytes) -> dict[str, float | None]:
    """p50, p95 and p99 of a packed sketch."""
    read = packed.read(data)
    found = {name: read.quantile_ns(q) for name, q in QUANTILES}
    return {name: None if ns is None else ns / 1_000 for name, ns in found.items()}


def check_shadow(limits: GateLimits, shadowing: Shadowing) -> Check:
    """Is the candidate ready (rules 2 and 3)?"""
    compared, agreement = shadowing.compared, shadowing.agreement
    evidence = shadowing.disagreement.evidence
    now_us = latencies_us(shadowing.latency)["p95"]
    then_us = latencies_us(shadowing.primary_latency)["p95"]
    figures: dict[str, Figure] = {
        "compared": compared,
        "requests_min": limits.shadow_requests_min,
        "agreement": agreement,
        "agreement_min": limits.shadow_agreement_min,
        "p95_us": now_us,
        "p95_us_primary": then_us,
        "ratio_max": limits.shadow_latency_ratio,
        "devices": shadowing.disagreement.count,
        **proof(evidence, limits.false_abort),
    }
    proved = evidence_text(evidence, limits.false_abort)
    if is_proved(evidence, limits.false_abort):
        verdict = Verdict.FAIL
        text = f"{shadowing.disagreement.count} devices prove too many disagreements"
    elif compared < limits.shadow_requests_min or agreement is None:
        verdict = Verdict.INCONCLUSIVE
        text = f"{compared} inferences compared, at least {limits.shadow_requests_min} are needed"
    elif now_us is None or then_us is None:
        verdict, text = Verdict.INCONCLUSIVE, "no latency of shadow and primary on the same inputs"
    else:
        is_alike = agreement > limits.shadow_agreement_min
        is_quick = now_us < limits.shadow_latency_ratio * then_us
        verdict = Verdict.PASS if is_alike and is_quick else Verdict.FAIL
        text = (
            f"agreement {agreement:.4f} of {compared} (above {limits.shadow_agreement_min:g} is"
            f" needed), p95 {now_us:.0f} us against {then_us:.0f} us (below"
            f" {limits.shadow_latency_ratio:g}x is needed)"
        )
    return Check("shadow", "", verdict, f"{text}; {proved}", figures, Consequence.HOLD)


def shadow_report(limits: GateLimits, shadowing: Shadowing) -> dict[str, Any]:
    """Everything, for people: totals with the interval of the agreement, and each device's."""
    pairs = [(agreed, compared) for compared, agreed in shadowing.devices.values()]
    check = check_shadow(limits, shadowing)
    return {
        "compared": shadowing.compared,
        "agreement": shadowing.agreement,
        "agreement_interval": agreement_interval(pairs),
        "agreed_by_comparator": dict(shadowing.by_comparator),
        "errors": shadowing.errors,
        "skipped": dict(shadowing.skipped),
        "latency_us": latencies_us(shadowing.latency),
        "primary_latency_us": latencies_us(shadowing.primary_latency),
        "devices": {
            unit: {"compared": compared, "agreement": agreed / compared if compared else None}
            for unit, (compared, agreed) in sorted(shadowing.devices.items())
        },
        "disagreements": [
            {"unit": unit, "sample": line} for unit, line in reversed(shadowing.samples)
        ],
        "verdict": check.verdict.value,
        "text": check.text,
        "figures": dict(check.figures),
    }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the shadow came out beside one bundle that served."""

    primary: bytes
    verdict: Verdict
    text: str


def outcomes(
    limits: GateLimits, shadowing: Shadowing, primaries: Mapping[str, bytes]
) -> tuple[Outcome, ...]:
    """One for each bundle that served on some device. What failed over all devices failed beside
    each; what passed has passed beside a bundle whose own devices compared and agreed enough."""
    check = check_shadow(limits, shadowing)
    found = []
    for primary in sorted(set(primaries.values())):
        own = [shadowing.devices[u] for u, p in primaries.items()
               if p == primary and u in shadowing.devices]  # fmt: skip
        compared, agreed = sum(c for c, _ in own), sum(a for _, a in own)
        verdict = check.verdict
        if verdict is Verdict.PASS and compared < limits.shadow_requests_min:
            verdict = Verdict.INCONCLUSIVE
        elif verdict is Verdict.PASS and agreed / compared <= limits.shadow_agreement_min:
            verdict = Verdict.FAIL
        found.append(Outcome(primary, verdict, f"{agreed} of {compared} agreed"))
    return tuple(found)


def kept(shadowing: Shadowing) -> dict[str, Any]:
    """As JSON values, without the devices."""
    return {
        "by_comparator": dict(shadowing.by_comparator),
        "skipped": dict(shadowing.skipped),
        "errors": shadowing.errors,
        "latency": shadowing.latency.hex(),
        "primary_latency": shadowing.primary_latency.hex(),
        "samples": shadowing.samples,
        "disagreement": [shadowing.disagreement.logs, shadowing.disagreement.count],
    }


def restored(values: Mapping[str, Any], devices: dict[str, list[int]]) -> Shadowing:
    """The same again. Raises KeyError, TypeError, ValueError where the values are not ours."""
    return Shadowing(
        devices,
        Counter(values["by_comparator"]),
        Counter(values["skipped"]),
        values["errors"],
        bytes.fromhex(values["latency"]),
        bytes.fromhex(values["primary_latency"]),
        [(unit, line) for unit, line in values["samples"]],
        Wealth(*values["disagreement"]),
    )
