"""How many devices a harm would hurt before a rollout stops: the gate's own tests, simulated.

Rules:
1. A harm of h means: so many of the updates fail. A healthy version fails on the tolerated share.
2. Devices of a stage end one after the other in random order; after each result the rollout looks
   as the engine does: at the allowed count of failures of what is opened, and at the sequential
   test of failed updates.
3. What is shown is how many devices had failed when it stopped: the median and the 95th
   percentile of the trials, and in how many of them it stopped at all.
4. The same trials at the tolerated share give how often a healthy version is stopped. The test
   alone promises at most its stated chance; the count of failures is stricter and promises none.

The source of chance is a parameter; the same seed gives the same figures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from wherry_controller.core.plans.plan import Plan
from wherry_controller.core.plans.stages import SERVING
from wherry_controller.core.rollouts.judging import failures_allowed
from wherry_controller.core.statistics.sequential import excess_evidence
from wherry_controller.core.subset import count_of

HARMS: Final = (0.05, 0.10, 0.30)
TRIALS: Final = 400
UNITS_MAX: Final = 20_000  # of a larger fleet so many are simulated: by then it has stopped


@dataclass(frozen=True, slots=True)
class Exposure:
    """One size of harm: devices hurt and devices reached when it stopped, over the trials."""

    harm: float
    stopped_share: float
    hurt_median: int
    hurt_p95: int
    reached_median: int


def exposures(plan: Plan, size: int, seed: int) -> tuple[Exposure, ...]:
    """The exposure to the tolerated share, to twice it, and to HARMS, in rising order."""
    tolerated = plan.gate.update_failure_max
    shares = sorted({tolerated, 2 * tolerated, *HARMS})
    openings = opened_counts(plan, size)
    return tuple(_simulated(plan, openings, share, Random(f"{seed} {share}")) for share in shares)


def opened_counts(plan: Plan, size: int) -> tuple[int, ...]:
    """How many devices are open in each stage that lets them serve (or stages a candidate)."""
    serving = [stage for stage in plan.stages if stage.action in SERVING]
    stages = serving or list(plan.stages[:1])
    counts = [count_of(min(stage.share_bp, plan.subset_bp), size) for stage in stages]
    return tuple(sorted({min(count, UNITS_MAX) for count in counts}))


def _simulated(plan: Plan, openings: Sequence[int], harm: float, dice: Random) -> Exposure:
    found = [_one(plan, openings, harm, dice) for _ in range(TRIALS)]
    stopped = sum(is_stopped for is_stopped, _, _ in found)
    hurt = sorted(failures for _, failures, _ in found)
    reached = sorted(results for _, _, results in found)
    return Exposure(
        harm, stopped / TRIALS, hurt[TRIALS // 2], hurt[TRIALS * 95 // 100], reached[TRIALS // 2]
    )


def _one(plan: Plan, openings: Sequence[int], harm: float, dice: Random) -> tuple[bool, int, int]:
    """(did it stop, devices that failed, devices that have ended)."""
    results = failures = 0
    for opened in openings:
        allowed = failures_allowed(plan, opened)
        while True:
            gap = 1 + int(math.log(1.0 - dice.random()) / math.log1p(-harm))  # to the next failure
            if results + gap > opened:
                results = opened
                break
            results, failures = results + gap, failures + 1
            if failures > allowed or _is_suspicious(plan, failures, results, opened):
                return True, failures, results
    return False, failures, results


def _is_suspicious(plan: Plan, failures: int, results: int, opened: int) -> bool:
    """Whether the test of failed updates stops it, with those counted that were asked by then."""
    gate = plan.gate
    asked = min(opened, results + plan.parallel_max) if plan.parallel_max else opened
    if failures <= gate.update_failure_max * asked:
        return False
    return excess_evidence(failures, asked, gate.update_failure_max) >= 1 / gate.false_abort
