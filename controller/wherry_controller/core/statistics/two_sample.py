"""New devices against a concurrent control group: is the new mean above the control's by more
than a margin?

Rules:
1. Figures are in 0..1, one of each device (a failure or not, an error rate, a share). They come in
   blocks: one new device and the 1..8 control devices that wait for it. How many there are must
   not depend on the figures.
2. The null hypothesis is "mean(new) <= mean(control) + margin" in every block, whatever the means.
3. A block's e-value for a suspicion (n, c) of the two means is f(x) times the g(y) of its controls,

       f(x) = x n/n' + (1 - x) (1 - n)/(1 - n'),   g(y) likewise with c/c',

   where (n', c') is the point of the null that is nearest to (n, c) in information
   (Turner, Ly & Grunwald 2024, "Generic E-variables for exact sequential k-sample tests";
   Turner & Grunwald 2023, "Exact anytime-valid confidence intervals for contingency tables").
   Nearest means: for means in the null, (mean f - 1) + m (mean g - 1) <= 0 for m controls; then
   by the inequality of the means, mean f * (mean g)^m <= 1. Both are linear in their figure, so
   this holds for figures between 0 and 1 as well as for failures that are 0 or 1.
4. Evidence is the average over a grid of suspicions: whoever does not know how bad it is, and how
   good the control group, weighs all.

    >>> pair = TwoSample()
    >>> for _ in range(12):
    ...     pair.add_control(0.0)
    ...     pair.add_new(1.0)
    ...     pair.match()
    >>> pair.evidence > 100
    True
"""

from dataclasses import dataclass, field
from functools import lru_cache
from math import log1p
from typing import Final

from wherry_controller.core.statistics.bounded import LOG_MAX, mean_of_logs

CONTROLS_MAX: Final = 8  # of one block
WAITING_MAX: Final = 64  # of each side; the oldest make room for newer ones
LADDER: Final = (0.0005, 0.002, 0.01, 0.02, 0.04, 0.1, 0.2, 0.4, 0.8)
CONTROLS: Final = (0.0005, 0.002, 0.01, 0.02, 0.05, 0.1, 0.3)


@dataclass(slots=True)
class TwoSample:
    """Logarithms of each suspicion's wealth, and the figures that wait for the other side.

    `blocks` were counted.
    """

    margin: float = 0.0
    logs: list[float] = field(default_factory=list)
    blocks: int = 0
    new_waiting: list[float] = field(default_factory=list)
    control_waiting: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Everybody begins with a wealth of 1."""
        self.logs = self.logs or [0.0] * len(suspicions(self.margin))

    def add_control(self, value: float) -> None:
        """A control device's figure; it waits for a new one."""
        self.control_waiting.append(_checked(value))
        del self.control_waiting[:-WAITING_MAX]

    def add_new(self, value: float) -> None:
        """A new device's figure; it waits for a control."""
        self.new_waiting.append(_checked(value))
        del self.new_waiting[:-WAITING_MAX]

    def match(self) -> None:
        """Make blocks of whoever waits."""
        while self.new_waiting and self.control_waiting:
            share = max(1, len(self.control_waiting) // len(self.new_waiting))
            count = min(share, CONTROLS_MAX)
            controls = self.control_waiting[-count:]
            del self.control_waiting[-count:]
            self._block(self.new_waiting.pop(0), controls)

    def _block(self, new: float, controls: list[float]) -> None:
        logs, bets = self.logs, slopes(len(controls), self.margin)
        for place, (new_null, new_slope, control_null, control_slope) in enumerate(bets):
            gain = log1p(new_slope * (new - new_null))
            for value in controls:
                gain += log1p(control_slope * (value - control_null))
            logs[place] = min(logs[place] + gain, LOG_MAX)
        self.blocks += 1

    @property
    def evidence(self) -> float:
        """The e-value against "the new ones are not worse by more than the margin"."""
        return mean_of_logs(self.logs)


def _checked(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"figure {value}, must be in 0..1")
    return value


@lru_cache(maxsize=64)
def suspicions(margin: float) -> tuple[tuple[float, float], ...]:
    """The grid of (new, control) means that are a breach."""
    return tuple((n, c) for c in CONTROLS for n in LADDER if n > c + margin)


@lru_cache(maxsize=256)
def slopes(control_count: int, margin: float) -> tuple[tuple[float, float, float, float], ...]:
    """Per suspicion: (n', slope of f, c', slope of g), so that f(x) = 1 + slope (x - n')."""
    found = []
    for new, control in suspicions(margin):
        at = nearest(new, control, control_count, margin)
        found.append((*_line(new, at + margin), *_line(control, at)))
    return tuple(found)


def _line(suspected: float, null: float) -> tuple[float, float]:
    return null, (suspected - null) / (null * (1 - null))


def nearest(new: float, control: float, control_count: int, margin: float) -> float:
    """The control mean c' of the null's point (c' + margin, c') that is nearest in information to
    a suspicion outside the null."""
    low, high = control, new - margin
    for _ in range(60):
        middle = (low + high) / 2
        pull = _pull(new, middle + margin) + control_count * _pull(control, middle)
        low, high = (middle, high) if pull > 0 else (low, middle)
    return (low + high) / 2


def _pull(suspected: float, at: float) -> float:
    """How much a little more brings nearer: minus the derivative of the information."""
    return suspected / at - (1 - suspected) / (1 - at)
