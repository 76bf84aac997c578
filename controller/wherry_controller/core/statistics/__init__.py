"""Statistics that stay true however often one looks: e-processes, two-sample tests, intervals.

An e-process starts at 1 and, while the null hypothesis holds, its mean never rises; so the chance
that it ever reaches 1/alpha is at most alpha (Ville 1939). Nobody has to say beforehand when to
look or when to stop.
"""

from wherry_controller.core.statistics.bounded import Wealth, bounded_evidence
from wherry_controller.core.statistics.intervals import (
    Lift,
    Moments,
    agreement_interval,
    compare_means,
    compare_rates,
)
from wherry_controller.core.statistics.sequential import excess_evidence
from wherry_controller.core.statistics.two_sample import TwoSample

__all__ = [
    "Lift",
    "Moments",
    "TwoSample",
    "Wealth",
    "agreement_interval",
    "bounded_evidence",
    "compare_means",
    "compare_rates",
    "excess_evidence",
]
