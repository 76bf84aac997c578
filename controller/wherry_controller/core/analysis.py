"""What explains a regression: which devices, classes, versions, slots or stages carry the excess.

Excess is time: (mean latency now - reference mean) x inferences, added over windows. The
reference is the applied baseline of the model's MAJOR and class; where there is none, the same
class over as long a time just before. Each group is ranked by the share of the positive excess
that it carries, beside the share of inferences that it made: a group that made 10 % of the
inferences and carries 90 % of the excess is where to look.

Layers are not in it: what a layer costs is known only by profiling the device.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

EXCESS_MIN: Final = 0.05  # of the reference: less is no regression
LIFT_MIN: Final = 1.5  # a group explains something when it carries so much more than its part


@dataclass(frozen=True, slots=True)
class Cell:
    """Windows of one device, version and slot, added up; no reference: None."""

    groups: Mapping[str, str]  # dimension -> which one, like device -> gw1/self
    inferences: int
    mean_us: float
    reference_us: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One group: its part of the excess, and of the inferences."""

    dimension: str
    name: str
    excess_share: float
    inference_share: float
    mean_us: float
    reference_us: float

    @property
    def lift(self) -> float:
        return self.excess_share / self.inference_share if self.inference_share else 0.0


@dataclass(frozen=True, slots=True)
class Analysis:
    """`excess` is relative to the reference over all; explanations are ranked, best first."""

    inferences: int
    compared: int  # inferences that had a reference
    mean_us: float | None
    reference_us: float | None
    excess: float | None
    is_regression: bool
    explanations: tuple[Explanation, ...]


def analyze(cells: Iterable[Cell]) -> Analysis:
    """Rank the groups of every dimension that tells some of them apart."""
    every = list(cells)
    known = [cell for cell in every if cell.reference_us is not None and cell.inferences > 0]
    total = sum(cell.inferences for cell in every)
    compared = sum(cell.inferences for cell in known)
    if not compared:
        return Analysis(total, 0, None, None, None, False, ())
    mean = sum(cell.mean_us * cell.inferences for cell in known) / compared
    reference = sum((cell.reference_us or 0.0) * cell.inferences for cell in known) / compared
    excess = mean / reference - 1.0 if reference > 0 else None
    found = tuple(sorted(_explanations(known, compared), key=_order))
    is_regression = excess is not None and (
        excess > EXCESS_MIN or any(_own_excess(one) > EXCESS_MIN for one in found)
    )
    return Analysis(total, compared, mean, reference, excess, is_regression, found)


def _own_excess(one: Explanation) -> float:
    return one.mean_us / one.reference_us - 1.0 if one.reference_us > 0 else 0.0


def _order(one: Explanation) -> tuple[float, str, str]:
    return (-one.excess_share * min(one.lift, 10.0), one.dimension, one.name)


def _explanations(cells: list[Cell], compared: int) -> Iterable[Explanation]:
    def excess(cell: Cell) -> float:
        return max(0.0, cell.mean_us - (cell.reference_us or 0.0)) * cell.inferences

    whole = sum(excess(cell) for cell in cells)
    if whole <= 0:
        return
    for dimension in cells[0].groups:
        groups: defaultdict[str, list[Cell]] = defaultdict(list)
        for cell in cells:
            groups[cell.groups.get(dimension, "")].append(cell)
        if len(groups) < 2:
            continue  # nothing is told apart by it
        for name, members in groups.items():
            count = sum(cell.inferences for cell in members)
            one = Explanation(
                dimension,
                name,
                sum(excess(cell) for cell in members) / whole,
                count / compared,
                sum(cell.mean_us * cell.inferences for cell in members) / count,
                sum((cell.reference_us or 0.0) * cell.inferences for cell in members) / count,
            )
            if one.lift >= LIFT_MIN:
                yield one
