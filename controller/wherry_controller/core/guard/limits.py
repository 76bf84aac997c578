"""The standing guard's numbers: watch, alert and roll back, for each figure.

A limit is breached above it, except where noted. Latencies and energies are ratios: to the
baseline (watch latency) or to the budget of the bundle for the hardware class.
"""

from dataclasses import dataclass
from typing import Final

MISSED_REPORTS: Final = 3  # a unit that was told to report rarely is silent later


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """Times in seconds; a window with fewer than `samples_min` inferences decides nothing."""

    samples_min: int = 100
    error_watch: float = 0.01  # from here on
    error_alert: float = 0.05
    error_rollback: float = 0.10
    error_rollback_s: float = 120.0  # every measured window of so long
    streak_gap_s: float = 120.0  # a longer gap between windows ends the streak
    latency_watch: float = 1.10  # of the baseline's p95, from here on
    latency_alert: float = 1.20  # of the budget's p95
    latency_rollback: float = 1.50  # of the budget, on the mean
    latency_us_unbudgeted: float = 5_000.0  # alerts on p95 where the bundle has no budget
    energy_watch: float = 1.00  # of the budget
    energy_alert: float = 1.15
    energy_rollback: float = 1.25  # measured or calibrated figures only
    memory_watch: float = 0.80
    memory_alert: float = 0.95  # from here on
    storage_watch: float = 0.10  # of the storage budget is left
    storage_alert: float = 0.05
    silent_s: float = 180.0  # at least; three missed reports of 60 s


def silent_after_s(performance_s: float, resources_s: float, limits: GuardLimits) -> float:
    """How long a unit that reports at these intervals may say nothing: any report is heard."""
    return max(limits.silent_s, MISSED_REPORTS * min(performance_s, resources_s))


@dataclass(frozen=True, slots=True)
class Terms:
    """What one model on one hardware class is held to. None: no such figure, no such check."""

    budget_latency_us: float | None = None
    baseline_latency_us: float | None = None  # p95
    budget_energy_uj: float | None = None
    temperature_c_min: float | None = None
    temperature_c_max: float | None = None
    storage_budget_bytes: float | None = None
