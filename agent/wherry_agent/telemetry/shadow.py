"""What a shadow showed: how often it agreed, what it was not run on, and when it must not run.

Pure. Counts are totals since the shadow was set, under a key that is never used again.

    >>> hold(Heat(90.0, 85.0), (), Limits())
    <Hold.TEMPERATURE: 2>
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from wherry_native.loop import Hold
from wherry_protocol.senml import Record
from wherry_protocol.sketch import EMPTY, Sketch
from wherry_protocol.sketch import since as sketch_since

from wherry_agent.telemetry.energy import EnergyFigure, Unavailable

if TYPE_CHECKING:
    from wherry_native.loop import Disagreement, ShadowStats

DIGEST_CHARACTERS: Final = 32  # of a SHA-256 in hexadecimal: enough to tell samples apart


@dataclass(frozen=True, slots=True)
class ShadowCounts:
    """Totals, or the differences of two; `primary_latency` is the active one's on what both ran."""

    compared: int = 0
    agreed: int = 0
    agreed_argmax: int = 0
    agreed_tolerance: int = 0
    errors: int = 0
    skipped_sampling: int = 0
    skipped_energy: int = 0
    skipped_temperature: int = 0
    skipped_deadline: int = 0
    primary_latency: Sketch = EMPTY


KNOWN_US_MAX: Final = 3_600_000_000
COUNTS: Final = tuple(one.name for one in fields(ShadowCounts) if one.name != "primary_latency")


def counts_of(stats: "ShadowStats") -> ShadowCounts:
    """As the loop counts."""
    latency = stats.primary_latency
    sketch = Sketch(latency.count, latency.sum_ns, latency.max_ns, dict(latency.buckets))
    counted = {name: getattr(stats, name) for name in COUNTS}
    return ShadowCounts(**counted, primary_latency=sketch)


def since(now: ShadowCounts, before: ShadowCounts) -> ShadowCounts:
    """What came after `before`."""
    counted = {name: getattr(now, name) - getattr(before, name) for name in COUNTS}
    return ShadowCounts(
        **counted, primary_latency=sketch_since(now.primary_latency, before.primary_latency)
    )


def records(done: ShadowCounts, samples: Iterable["Disagreement"]) -> Iterable[Record]:
    """SenML records beside the shadow's own performance; no input leaves the device."""
    for name in COUNTS:
        value = float(getattr(done, name))
        yield Record(name=f"shadow.{name.replace('_', '.')}", unit="1", value=value)
    yield Record(name="shadow.primary_latency", data=done.primary_latency.to_bytes())
    p95_ns = done.primary_latency.quantile_ns(0.95)
    if p95_ns is not None:
        yield Record(name="shadow.primary_latency.p95", unit="s", value=p95_ns / 1e9)
    for one in samples:
        parts = (_digest(data) for data in (one.input, one.primary, one.shadow))
        yield Record(name="shadow.disagreement", string=f"{one.sequence} {' '.join(parts)}")


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:DIGEST_CHARACTERS]


# --- when it must not run


@dataclass(frozen=True, slots=True)
class Heat:
    """The device's temperature and its class's limit, where they are known."""

    now_c: float | Unavailable | None
    max_c: float | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the active one and its shadow together may use; None: not limited."""

    energy_uj: float | None = None
    power_mw: float | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """What the bundle `key` cost as a shadow, and the active one beside it, when both last ran."""

    key: str
    at_us: int
    active: EnergyFigure
    shadow: EnergyFigure


Cost = EnergyFigure | Unavailable


def spending(
    before: Spending | None, was_held: bool, key: str, active: Cost, shadow: Cost, now_us: int
) -> Spending | None:
    """After an interval. One in which the shadow was held says nothing new of it, and what is
    older than an hour is not known any more: then one interval finds out again."""
    if isinstance(active, EnergyFigure) and isinstance(shadow, EnergyFigure) and not was_held:
        return Spending(key, now_us, active, shadow)
    if before is None or before.key != key or now_us - before.at_us >= KNOWN_US_MAX:
        return None
    return before


def expected(known: Spending | None, active: Cost) -> tuple[Cost, ...]:
    """What both would cost now: a shadow runs on the active one's inputs, so its power goes with
    the rate at which those come."""
    if known is None or not isinstance(active, EnergyFigure):
        return (active,)
    before, now = _rate(known.active), _rate(active)
    mean_mw = known.shadow.mean_mw * now / before if before else known.shadow.mean_mw
    return active, replace(known.shadow, mean_mw=mean_mw)


def _rate(cost: EnergyFigure) -> float:
    return cost.mean_mw / cost.per_inference_uj if cost.per_inference_uj else 0.0


def hold(heat: Heat, costs: Iterable[EnergyFigure | Unavailable], limits: Limits) -> Hold:
    """Why the shadow must not run now, by what both cost. What nobody knows holds nothing."""
    if isinstance(heat.now_c, float) and heat.max_c is not None and heat.now_c > heat.max_c:
        return Hold.TEMPERATURE
    known = [one for one in costs if isinstance(one, EnergyFigure)]
    energy_uj = sum(one.per_inference_uj for one in known)
    power_mw = sum(one.mean_mw for one in known)
    is_dear = limits.energy_uj is not None and energy_uj > limits.energy_uj
    is_strong = limits.power_mw is not None and power_mw > limits.power_mw
    return Hold.ENERGY if is_dear or is_strong else Hold.NONE
