"""How many devices a harm would hurt before a rollout stops: the gate's own tests, simulated.

Rules:
1. A harm of h means: so many of the updates fail. A healthy version fails on the tolerated share.
2. A stage asks all that it opens at once, or so many at a time as may be under way. They end one
   after the other in random order; after each result the rollout looks as the engine does: at the
   allowed count of failures of what is opened, and at the sequential test of failed updates.
3. Stopping takes nothing back that was asked: whoever is under way then is reached too, and fails
   as often as the others. So what is shown is what it costs, and not what had been seen by then:
   the median and the 95th percentile of the failed, and in how many trials it stopped at all.
4. The same trials at the tolerated share give how often a healthy version is stopped. The test
   alone promises at most its stated chance; the count of failures is stricter and promises none.

The source of chance is a parameter; the same seed gives the same figures.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

from wherry_controller.core.plans.plan import Plan
from wherry_controller.core.plans.stages import SERVING
from wherry_controller.core.rollouts.judging import failures_allowed
from wherry_controller.core.statistics.sequential import excess_evidence
from wherry_controller.core.subset import count_of

HARMS: Final = (0.05, 0.10, 0.30)
TRIALS: Final = 400
UNITS_MAX: Final = 100_000  # so many are played one by one; what goes on then, goes on to its end
EXACT_BELOW: Final = 50.0  # expected failures; more are drawn by the normal law


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
    play = _one_by_one(plan, openings) if plan.parallel_max else _at_once(plan, openings)
    return tuple(_simulated(play, share, Random(f"{seed} {share}")) for share in shares)


def opened_counts(plan: Plan, size: int) -> tuple[int, ...]:
    """How many devices are open in each stage that lets them serve (or stages a candidate)."""
    serving = [stage for stage in plan.stages if stage.action in SERVING]
    stages = serving or list(plan.stages[:1])
    counts = [count_of(min(stage.share_bp, plan.subset_bp), size) for stage in stages]
    return tuple(sorted(set(counts)))


Trial = tuple[bool, int, int]  # did it stop, devices that failed, devices that were asked
Play = Callable[[float, Random], Trial]


def _simulated(play: Play, harm: float, dice: Random) -> Exposure:
    found = [play(harm, dice) for _ in range(TRIALS)]
    stopped = sum(is_stopped for is_stopped, _, _ in found)
    hurt = sorted(failures for _, failures, _ in found)
    reached = sorted(asked for _, _, asked in found)
    return Exposure(
        harm, stopped / TRIALS, hurt[TRIALS // 2], hurt[TRIALS * 95 // 100], reached[TRIALS // 2]
    )


def _at_once(plan: Plan, openings: Sequence[int]) -> Play:
    """All that a stage opens are under way together: only how many of them fail is by chance."""
    proof_until = _proof_until(plan, openings[-1])
    limits = [
        min(
            failures_allowed(plan, opened) + 1,
            1 + bisect_left(range(1, opened + 1), opened, key=proof_until),
        )
        for opened in openings
    ]

    def play(harm: float, dice: Random) -> Trial:
        asked = failures = 0
        for opened, limit in zip(openings, limits, strict=True):
            failures += failing(opened - asked, harm, dice)
            asked = opened
            if failures >= limit:
                return True, failures, asked
        return False, failures, asked

    return play


def _one_by_one(plan: Plan, openings: Sequence[int]) -> Play:
    """So many at a time are under way: whoever ends makes room for the next."""
    proof_until = _proof_until(plan, openings[-1])

    def play(harm: float, dice: Random) -> Trial:
        results = failures = 0
        for opened in openings:
            allowed, end = failures_allowed(plan, opened), min(opened, UNITS_MAX)
            while True:
                gap = _gap(harm, dice)
                if results + gap > end:
                    results = end
                    break
                results, failures = results + gap, failures + 1
                asked = min(opened, results + plan.parallel_max - 1)
                if failures > allowed or asked <= proof_until(failures):
                    return True, failures + failing(asked - results, harm, dice), asked
        return False, failures + failing(opened - results, harm, dice), opened

    return play


def _proof_until(plan: Plan, asked_max: int) -> Callable[[int], int]:
    """How many may have been asked, at most, for so many failures to stop it by the test.

    The evidence falls with each one more who was asked and did not fail, so one number says it.
    """
    tolerated, wanted = plan.gate.update_failure_max, 1 / plan.gate.false_abort

    @cache
    def proof_until(failures: int) -> int:
        more = range(failures, min(asked_max, int(failures / tolerated)) + 1)
        return failures + bisect_left(
            more, True, key=lambda asked: excess_evidence(failures, asked, tolerated) < wanted
        ) - 1  # fmt: skip

    return proof_until


def failing(count: int, harm: float, dice: Random) -> int:
    """How many of so many fail."""
    if count * harm < EXACT_BELOW:
        failures, at = 0, _gap(harm, dice)
        while at <= count:
            failures, at = failures + 1, at + _gap(harm, dice)
        return failures
    drawn = round(dice.gauss(count * harm, math.sqrt(count * harm * (1.0 - harm))))
    return min(max(drawn, 0), count)


def _gap(harm: float, dice: Random) -> int:
    """To the next that fails."""
    return 1 + int(math.log(1.0 - dice.random()) / math.log1p(-harm))
