"""Figures in 0..1, one of each device: is their mean above a limit?

Rules:
1. The null hypothesis is "the next figure's mean is at most `limit`, given all before it". It may
   be looked at after every figure, and `limit` may differ from figure to figure as long as it
   is known before the figure is.
2. Evidence is the average of ten bettors' wealth. Each multiplies by 1 + b (x - limit) with a bet
   b >= 0 that never ruins (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random
   variables by betting"); for x of 0 or 1 that is the likelihood ratio against `limit` of one
   chance above it.
3. One device is one figure. Its inferences share its sensor, its site and its faults, so they
   count once, as their mean, and not as so many independent results.

    >>> wealth = Wealth()
    >>> for share in (0.4, 0.5, 0.6):
    ...     wealth.add(share, limit=0.05)
    >>> wealth.evidence > 50
    True
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from math import exp, log, log1p
from typing import Final

RATIOS: Final = (1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, 89.0)
CHANCE_MAX: Final = 0.95
LOG_MAX: Final = 690.0


@dataclass(slots=True)
class Wealth:
    """Logarithms of the ten bettors' wealth, and how many figures they have seen."""

    logs: list[float] = field(default_factory=lambda: [0.0] * len(RATIOS))
    count: int = 0

    def add(self, value: float, limit: float) -> None:
        """Bet on one device's figure. Raises ValueError outside 0..1, or for a limit not in it."""
        if not 0.0 <= value <= 1.0 or not 0.0 < limit < 1.0:
            raise ValueError(f"figure {value} against {limit}, must be in 0..1")
        away = value - limit
        for place, bet in enumerate(_bets(limit)):
            self.logs[place] = min(self.logs[place] + log1p(bet * away), LOG_MAX)
        self.count += 1

    @property
    def evidence(self) -> float:
        """The mean wealth: an e-value against "at most the limit"."""
        return mean_of_logs(self.logs)


@lru_cache(maxsize=1024)
def _bets(limit: float) -> tuple[float, ...]:
    """What each bettor stakes against the limit: a rollout holds all its devices against few."""
    chances = [alternative(limit, ratio) for ratio in RATIOS]
    return tuple((chance - limit) / (limit * (1 - limit)) for chance in chances)


def alternative(limit: float, ratio: float) -> float:
    """The chance that one bettor believes in: `ratio` times the limit's odds, below certainty."""
    odds = ratio * limit / (1 - limit)
    return max(limit, min(odds / (1 + odds), CHANCE_MAX))


def mean_of_logs(logs: Iterable[float]) -> float:
    """The mean of what the logarithms are of, at most e^690."""
    values = list(logs)
    highest = max(values)
    total = highest + log(sum(exp(value - highest) for value in values) / len(values))
    return exp(max(min(total, LOG_MAX), -LOG_MAX))


def bounded_evidence(values: Iterable[float], limit: float) -> float:
    """The evidence of all of them against "their mean is at most `limit`"."""
    wealth = Wealth()
    for value in values:
        wealth.add(value, limit)
    return wealth.evidence
