"""The beta distribution's tail, in logarithms, without scipy.

Continued fraction by the modified Lentz method (Numerical Recipes, 3rd ed., section 6.4).
"""

from math import exp, lgamma, log, log1p
from typing import Final

STEPS_MAX: Final = 20_000
PRECISION: Final = 1e-13
TINY: Final = 1e-300


def log_beta(a: float, b: float) -> float:
    """Logarithm of the beta function; a, b > 0."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def log_tail(x: float, a: float, b: float) -> float:
    """log P(X > x) for X ~ Beta(a, b); 0 < x < 1."""
    front = a * log(x) + b * log1p(-x) - log_beta(a, b)
    if x < (a + 1) / (a + b + 2):
        below = exp(front) * _fraction(x, a, b) / a
        return log1p(-min(below, 1 - 1e-16))
    return front + log(_fraction(1 - x, b, a)) - log(b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function; quick for x below the mean."""
    c, d = 1.0, _inverse(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, STEPS_MAX):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = _inverse(1 + even * d), _away(1 + even / c)
        found *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = _inverse(1 + odd * d), _away(1 + odd / c)
        found *= d * c
        if abs(d * c - 1) < PRECISION:
            break
    return found


def _away(value: float) -> float:
    return value if abs(value) > TINY else TINY


def _inverse(value: float) -> float:
    return 1 / _away(value)
