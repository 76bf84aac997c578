"""How far apart two groups of devices are, with bounds that hold however often one looks, and the
classical figures beside them.

Rules:
1. One device is one figure: its own mean. Groups are compared on these.
2. Anytime: the difference of means is significant when z^2 >= (1 + 1/w) (log(1 + w) + 2 log(1/a)),
   with w = effective devices / `TUNED_FOR` (the normal mixture boundary; Waudby-Smith, Arbour,
   Sinha, Kennedy & Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence
   sequences", with the harmonic mean of both groups as the sample size). It holds for large
   groups; `MINIMUM_DEVICES` in `experiment` sees to that.
3. Classical: z of two proportions (pooled), Welch's t of two means. They hold for one look that
   was planned, and are shown for whoever expects them; nothing is decided by them.
4. Agreement's interval counts devices, not inferences: its error comes from how devices differ
   (ratio estimator; Cochran 1977, section 2.11), and is never narrower than Wilson's for
   independent inferences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, exp, inf, log, sqrt
from typing import Final

from wherry_controller.core.statistics.beta import log_tail

TUNED_FOR: Final = 23.0  # the boundary is tightest near 200 effective devices at 5 %
Z_95: Final = 1.959964


@dataclass(slots=True)
class Moments:
    """Count, mean and spread of figures that came one by one (Welford 1962)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """One more figure."""
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self.squares += step * (value - self.mean)

    @property
    def variance(self) -> float:
        """Of the figures, n - 1 below; 0 for fewer than two."""
        return self.squares / (self.count - 1) if self.count > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Lift:
    """Treatment against control. `low` and `high` bound the difference at any time;
    `share` is the difference in parts of the control's mean (None: that is 0)."""

    difference: float
    share: float | None
    low: float
    high: float
    is_significant: bool
    classical: str  # "z" or "welch"
    statistic: float | None  # None: it cannot be had
    p_value: float | None


def compare_means(treatment: Moments, control: Moments, alpha: float) -> Lift:
    """Two groups' means, with Welch's t beside the anytime bounds. At least one device each."""
    error = sqrt(_error_squared(treatment, control))
    t = (treatment.mean - control.mean) / error if error else None
    p = None if t is None else _student_p(t, _welch_freedom(treatment, control))
    return _lift(treatment, control, alpha, "welch", t, p)


def compare_rates(treatment: Moments, control: Moments, alpha: float) -> Lift:
    """Two groups' shares of success, with the pooled z of devices beside the anytime bounds."""
    n, m = treatment.count, control.count
    pooled = (treatment.mean * n + control.mean * m) / max(1, n + m)
    error = sqrt(max(0.0, pooled * (1 - pooled)) * (1 / max(1, n) + 1 / max(1, m)))
    z = (treatment.mean - control.mean) / error if error else None
    p = None if z is None else erfc(abs(z) / sqrt(2))
    return _lift(treatment, control, alpha, "z", z, p)


def _lift(
    treatment: Moments,
    control: Moments,
    alpha: float,
    classical: str,
    statistic: float | None,
    p_value: float | None,
) -> Lift:
    difference = treatment.mean - control.mean
    radius = anytime_radius(treatment, control, alpha)
    share = difference / control.mean if control.mean else None
    is_significant = abs(difference) > radius
    low, high = difference - radius, difference + radius
    return Lift(difference, share, low, high, is_significant, classical, statistic, p_value)


def anytime_radius(treatment: Moments, control: Moments, alpha: float) -> float:
    """How far the difference may be off, at any time, but for a chance of `alpha` (rule 2)."""
    n, m = treatment.count, control.count
    if min(n, m) < 2:
        return inf
    w = 2 * n * m / (n + m) / TUNED_FOR
    squared = (1 + 1 / w) * (log(1 + w) + 2 * log(1 / alpha))
    return sqrt(squared * _error_squared(treatment, control))


def _error_squared(treatment: Moments, control: Moments) -> float:
    return treatment.variance / max(1, treatment.count) + control.variance / max(1, control.count)


def _welch_freedom(treatment: Moments, control: Moments) -> float:
    parts = [
        (m.variance / m.count) ** 2 / (m.count - 1) for m in (treatment, control) if m.count > 1
    ]
    return _error_squared(treatment, control) ** 2 / sum(parts)


def _student_p(t: float, freedom: float) -> float:
    """P(|T| > |t|): the lower tail of a Beta(freedom/2, 1/2) at freedom / (freedom + t^2)."""
    x = t * t / (freedom + t * t)
    return 1.0 if x <= 0.0 else exp(log_tail(min(x, 1 - 1e-15), 0.5, freedom / 2))


def agreement_interval(pairs: Sequence[tuple[int, int]]) -> tuple[float, float] | None:
    """The 95 % interval of a share, from each device's (hits, tries); None without tries."""
    tried = [(hits, tries) for hits, tries in pairs if tries]
    hits, tries = sum(h for h, _ in tried), sum(n for _, n in tried)
    if not tries:
        return None
    share = hits / tries
    low, high = wilson(hits, tries)
    if len(tried) > 1:
        devices = len(tried)
        squares = sum((h - share * n) ** 2 for h, n in tried) * devices / (devices - 1)
        radius = Z_95 * sqrt(squares) / tries
        low, high = min(low, share - radius), max(high, share + radius)
    return max(0.0, low), min(1.0, high)


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (1927); tries > 0."""
    share, z2 = hits / tries, Z_95**2
    middle = (share + z2 / (2 * tries)) / (1 + z2 / tries)
    radius = Z_95 / (1 + z2 / tries) * sqrt(share * (1 - share) / tries + z2 / (4 * tries**2))
    return middle - radius, middle + radius
