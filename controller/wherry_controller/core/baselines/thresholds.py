"""What the standing guard holds a model to once a baseline is applied, and what that changes."""

from dataclasses import dataclass

from wherry_controller.core.baselines.summary import Summary
from wherry_controller.core.guard.limits import GuardLimits


@dataclass(frozen=True, slots=True)
class Threshold:
    """One figure before and after; None: there was, or will be, none."""

    name: str
    before: float | None
    after: float | None


def derived(summary: Summary | None, limits: GuardLimits) -> dict[str, float | None]:
    """The guard's numbers that come from a baseline: it watches p95 against them."""
    p95 = None if summary is None else summary.quantile_us(0.95)
    watch = None if p95 is None else round(p95 * limits.latency_watch, 3)
    return {"baseline_latency_us_p95": p95, "watch_latency_us_p95": watch}


def difference(
    before: Summary | None, after: Summary | None, limits: GuardLimits
) -> list[Threshold]:
    """Every derived number, before and after."""
    old, new = derived(before, limits), derived(after, limits)
    return [Threshold(name, old[name], new[name]) for name in new]
