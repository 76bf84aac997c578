"""The numbers of a gate: three presets, every number overridable, nothing implied.

`conservative` is quick to revert and `aggressive` is slow (tolerant); the names are kept as
operators know them from the field, so their numbers are shown wherever the names are.
"""

from dataclasses import dataclass
from typing import Final

from wherry_controller.core.gates.custom import CustomRule

CHECKS: Final = ("errors", "increase", "latency", "energy", "crash", "memory", "update", "shadow")

WAIT: Final = "wait"
PAUSE: Final = "pause"


@dataclass(frozen=True, slots=True)
class GateLimits:
    """When a new version may not stay. A limit is breached when a figure is above it.

    Latency needs both: p95 or p99 above `latency_ratio` times the comparison's and at least
    `latency_excess_us` more. `require` names the checks that must pass to leave a stage; a check
    without figures is inconclusive and so does not pass. A check that is not required still
    reverts when it fails.
    """

    error_rate_max: float
    latency_ratio: float
    requests_min: int
    interval_s: float
    latency_excess_us: float = 250.0
    energy_ratio: float = 1.25
    energy_excess_uj: float = 0.0
    crashes_max: int = 0
    memory_share_max: float = 0.80  # above it the stage is held; this check never reverts
    control_units_min: int = 3
    false_abort: float = 0.01  # chance that one sequential test ever aborts a model at the limit
    error_increase_min: float = 0.005  # a smaller increase over the control group never reverts
    update_failure_max: float = 0.02  # share of the devices whose update may fail
    require: tuple[str, ...] = CHECKS
    experiment_devices_min: int = 100  # per arm
    experiment_s: float = 86_400.0  # so long a device is watched in its arm before it counts
    experiment_alpha: float = 0.05
    shadow_requests_min: int = 1_000
    shadow_agreement_min: float = 0.95  # the agreement must be above it
    shadow_latency_ratio: float = 1.2  # the shadow's p95 must be below so many times the primary's
    custom: tuple[CustomRule, ...] = ()
    inconclusive: str = WAIT  # what a stage does that only lacks figures: wait, or pause
    inconclusive_after_s: float = 3_600.0  # so long after its soak, where it pauses


PRESETS: Final = {
    "conservative": GateLimits(0.005, 1.2, 500, 30.0),
    "balanced": GateLimits(0.01, 1.5, 1_000, 60.0),
    "aggressive": GateLimits(0.02, 2.0, 5_000, 300.0),
}
DEFAULT_PRESET: Final = "balanced"
