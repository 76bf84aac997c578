"""Energy: what inferences cost, where the figure comes from, and how far to trust it.

Rules, in order:
1. A rail's energy is the integral of its power over monotonic time (trapezoids between samples),
   or the difference of an energy counter with its wraparound. It is never a duration times a
   constant.
2. A gap longer than `GAP_US_MAX`, or a failed reading, is not bridged: the time stays uncovered.
   An interval that is covered by less than `COVERED_MIN` has no figure, only a reason.
3. Measured energy of an interval, less the idle power that the hardware class states (0 where it
   states none), is shared among the models by their CPU time and divided by their inferences.
4. Modelled energy is cycles (ticks of the loop's counter) times the class's nJ per cycle, with
   the class's uncertainty; it is `calibrated` only where the class names the day of that.
5. Only measured and calibrated figures may revert a model (`may_revert`).
6. No inferences, no figure per inference.

Pure: readings and times come in.

    >>> rail = add_power(add_power(Integral(), 0, 2.0), 500_000, 4.0)
    >>> rail.total_uj
    1500000.0
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from wherry_protocol.hardware import EnergyModel

GAP_US_MAX: Final = 5_000_000
COVERED_MIN: Final = 0.8

HWMON: Final = "measured:hwmon"
RAPL: Final = "measured:rapl"
CALIBRATED: Final = "modelled:calibrated"
DATASHEET: Final = "modelled:datasheet"


@dataclass(frozen=True, slots=True)
class Integral:
    """A rail's energy so far; `at_us` is None after a gap, until the next reading."""

    total_uj: float = 0.0
    covered_us: int = 0
    at_us: int | None = None
    power_w: float = 0.0
    counters_uj: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What one model did: totals since it was loaded, or the difference of two such totals."""

    inferences: int = 0
    cpu_ns: int = 0
    cycles: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rail and work at one moment; `work` is by any key that the caller likes."""

    at_us: int
    rail: Integral
    work: Mapping[str, Work]


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A figure that cannot be had, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class EnergyFigure:
    """Energy of one model over an interval; `uncertainty` is relative, None where unknown."""

    per_inference_uj: float
    mean_mw: float
    uncertainty: float | None
    source: str

    @property
    def may_revert(self) -> bool:
        return self.source != DATASHEET


@dataclass(frozen=True, slots=True)
class Basis:
    """How this device knows its energy: a sensor (`source`, or why there is none) or a model.

    `source` is HWMON or RAPL where a sensor is read; otherwise None, and `model` counts.
    """

    source: str | None
    uncertainty: float | None
    model: EnergyModel | None
    reason: str = "no power sensor, and the hardware class has no energy model"


def add_power(integral: Integral, at_us: int, power_w: float) -> Integral:
    """The integral after one more power sample; the samples' times must not go back."""
    span_us = _span(integral, at_us)
    added_uj = (integral.power_w + power_w) / 2 * span_us
    return Integral(integral.total_uj + added_uj, integral.covered_us + span_us, at_us, power_w, ())


def add_counters(
    integral: Integral, at_us: int, counters_uj: Sequence[int], ranges_uj: Sequence[int]
) -> Integral:
    """The integral after one more reading of energy counters that wrap past `ranges_uj`."""
    now = tuple(counters_uj)
    span_us = _span(integral, at_us) if len(integral.counters_uj) == len(now) else 0
    added_uj = 0.0
    if span_us:
        pairs = zip(integral.counters_uj, now, ranges_uj, strict=True)
        added_uj = float(sum(_grown(before, after, top) for before, after, top in pairs))
    return Integral(integral.total_uj + added_uj, integral.covered_us + span_us, at_us, 0.0, now)


def interrupt(integral: Integral) -> Integral:
    """The integral after a reading that failed: what follows is not joined to what was."""
    return replace(integral, at_us=None, counters_uj=())


def figures(
    before: Snapshot, after: Snapshot, basis: Basis
) -> dict[str, EnergyFigure | Unavailable]:
    """Energy of each model of `after` in the interval since `before`."""
    done = {key: _less(work, before.work.get(key, Work())) for key, work in after.work.items()}
    span_us = after.at_us - before.at_us
    if basis.source is None and basis.model is None:
        return {key: Unavailable(basis.reason) for key in done}
    if span_us <= 0:
        return {key: Unavailable("the interval is empty") for key in done}
    if basis.source is None:
        return {key: _modelled(work, span_us, basis) for key, work in done.items()}
    return _measured(done, before, after, basis)


def _measured(
    done: Mapping[str, Work], before: Snapshot, after: Snapshot, basis: Basis
) -> dict[str, EnergyFigure | Unavailable]:
    span_us = after.at_us - before.at_us
    covered_us = after.rail.covered_us - before.rail.covered_us
    if covered_us < COVERED_MIN * span_us:
        percent = 100 * covered_us // span_us
        text = f"the power sensor was read for {percent} % of the interval only"
        return {key: Unavailable(text) for key in done}
    idle_mw = basis.model.idle_mw if basis.model else 0.0
    rail_uj = after.rail.total_uj - before.rail.total_uj - idle_mw * covered_us / 1000
    cpu_ns = sum(work.cpu_ns for work in done.values())
    shares = {key: work.cpu_ns / cpu_ns if cpu_ns else 0.0 for key, work in done.items()}
    return {
        key: _figure(work, max(rail_uj, 0.0) * shares[key], covered_us, basis)
        for key, work in done.items()
    }


def _modelled(work: Work, span_us: int, basis: Basis) -> EnergyFigure | Unavailable:
    if basis.model is None:
        return Unavailable(basis.reason)
    if work.inferences > 0 and work.cycles <= 0:
        return Unavailable("this processor gives programs no cycle counter")
    source = DATASHEET if basis.model.calibrated_s is None else CALIBRATED
    energy_uj = work.cycles * basis.model.nj_per_cycle / 1000
    known = replace(basis, source=source, uncertainty=basis.model.uncertainty)
    return _figure(work, energy_uj, span_us, known)


def _figure(work: Work, energy_uj: float, span_us: int, basis: Basis) -> EnergyFigure | Unavailable:
    if work.inferences <= 0:
        return Unavailable("no inference in the interval")
    return EnergyFigure(
        per_inference_uj=energy_uj / work.inferences,
        mean_mw=energy_uj / span_us * 1000,
        uncertainty=basis.uncertainty,
        source=str(basis.source),
    )


def _span(integral: Integral, at_us: int) -> int:
    if integral.at_us is None:
        return 0
    if at_us < integral.at_us:
        raise ValueError(f"energy: a sample at {at_us} us after one at {integral.at_us} us")
    span_us = at_us - integral.at_us
    return span_us if span_us <= GAP_US_MAX else 0


def _grown(before: int, after: int, top: int) -> int:
    return after - before if after >= before else after + top + 1 - before


def _less(work: Work, before: Work) -> Work:
    return Work(
        work.inferences - before.inferences,
        work.cpu_ns - before.cpu_ns,
        work.cycles - before.cycles,
    )
