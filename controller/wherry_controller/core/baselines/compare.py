"""Is it as it was? Figures of now against a baseline, each with a verdict.

Rules:
1. A verdict needs `WINDOWS_MIN` windows on both sides; else it is inconclusive, and says so.
2. Worse (better) is what is significant at `ALPHA` on windows (Welch, anytime bounds) and more
   than the tolerance. What could not be more than the tolerance is the same. The rest is
   inconclusive: more windows would tell.
3. Energy is compared only where both sides have it, and all of it from one kind of source.
"""

from dataclasses import dataclass
from typing import Final

from wherry_controller.core.baselines.summary import UNKNOWN, Summary
from wherry_controller.core.statistics import Moments, compare_means

ALPHA: Final = 0.05
WINDOWS_MIN: Final = 5
ERROR_TOLERANCE: Final = 0.005  # half a percentage point
SHARE_TOLERANCE: Final = 0.10  # of the baseline's figure


@dataclass(frozen=True, slots=True)
class Verdict:
    """`low` and `high` bound the difference of window means; None: not to be had."""

    metric: str
    verdict: str  # same, worse, better or inconclusive
    baseline: float | None
    current: float | None
    baseline_windows: int
    current_windows: int
    low: float | None
    high: float | None
    text: str


def compare(current: Summary, baseline: Summary) -> list[Verdict]:
    """One verdict per metric."""
    names = ("error_rate", "latency_us_mean", "latency_us_p95", "energy_uj")
    return [_compare(name, current, baseline) for name in names]


def _compare(name: str, current: Summary, baseline: Summary) -> Verdict:
    now, then = current.spread[name], baseline.spread[name]
    if name == "energy_uj" and now.count and then.count:
        sources = _kinds(current.energy_source) | _kinds(baseline.energy_source)
        if len(sources) > 1:
            text = f"from different sources: {' and '.join(sorted(sources))}"
            return _verdict(name, "inconclusive", now, then, None, None, text)
    if min(now.count, then.count) < WINDOWS_MIN:
        text = f"{now.count} windows against {then.count}, {WINDOWS_MIN} are needed on each side"
        return _verdict(name, "inconclusive", now, then, None, None, text)
    lift = compare_means(now, then, ALPHA)
    tolerance = ERROR_TOLERANCE if name == "error_rate" else SHARE_TOLERANCE * then.mean
    text = f"{now.mean:.6g} against {then.mean:.6g} ({lift.low:+.3g}..{lift.high:+.3g})"
    if lift.low > 0 and lift.difference > tolerance:
        verdict = "worse"
    elif lift.high < 0 and -lift.difference > tolerance:
        verdict = "better"
    elif lift.high <= tolerance and lift.low >= -tolerance:
        verdict = "same"
    else:
        verdict = "inconclusive"
    return _verdict(name, verdict, now, then, lift.low, lift.high, text)


def _kinds(sources: str) -> set[str]:
    """`measured` of `measured:hwmon`, of each source that is named."""
    return {source.partition(":")[0] or UNKNOWN for source in sources.split(", ")}


def _verdict(
    name: str,
    verdict: str,
    now: Moments,
    then: Moments,
    low: float | None,
    high: float | None,
    text: str,
) -> Verdict:
    return Verdict(
        name,
        verdict,
        then.mean if then.count else None,
        now.mean if now.count else None,
        then.count,
        now.count,
        low,
        high,
        text,
    )
