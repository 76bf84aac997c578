"""SenML packs (RFC 8428): one per model with its performance, one per unit with its resources.

Rules:
1. The first record carries the base name and no figure of its own beyond its name and value; all
   others repeat only the leaf: `acme/gw1/self/digits/1.0.0/active/` + `latency.p95`.
2. Counts are those of the interval, not totals, so that a consumer may add them up.
3. A figure that cannot be had is `NAME.unavailable` with the reason as its string value.
4. Units are SenML's: s, J, W, B, Cel, "/" for ratios, "1" for counts.

Pure. The envelope (`Origin`) carries the time.

    >>> resources_pack("acme/gw1/self/", {"memory.arena": 4096.0})[0].value
    4096.0
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from wherry_protocol.senml import Record

from wherry_agent.telemetry.counters import Counters
from wherry_agent.telemetry.energy import EnergyFigure, Unavailable
from wherry_agent.telemetry.shadow import ShadowCounts
from wherry_agent.telemetry.shadow import records as shadow_records

if TYPE_CHECKING:
    from wherry_native.loop import Disagreement

Pack = tuple[Record, ...]

RESOURCE_UNITS: Final[Mapping[str, str]] = {
    "temperature": "Cel",
    "memory.rss": "B",
    "memory.arena": "B",
    "memory.budget": "B",
    "cpu": "/",
    "storage.used": "B",
    "storage.free": "B",
    "spool.bytes": "B",
    "spool.dropped": "1",
    "network.sent": "B",
    "network.received": "B",
}
QUANTILES: Final = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))


@dataclass(frozen=True, slots=True)
class Performance:
    """One model's interval: who served, what it counted, what it cost."""

    model: str
    version: str
    slot: str
    manifest_digest: bytes
    interval_s: float
    done: Counters
    energy: EnergyFigure | Unavailable
    shadow: ShadowCounts | None = None
    disagreements: Sequence["Disagreement"] = ()


def unit_base(org: str, connection: str, unit: str) -> str:
    """The base name of a unit's resources."""
    return f"{org}/{connection}/{unit}/"


def performance_pack(base: str, seen: Performance) -> Pack:
    """The pack of one model; `base` is `unit_base(…)`."""
    records = [
        Record(name="digest", string=seen.manifest_digest.hex()),
        Record(name="interval", unit="s", value=seen.interval_s),
        *_counts(seen.done),
        *_latency(seen.done),
        *_energy(seen.energy),
        *(shadow_records(seen.shadow, seen.disagreements) if seen.shadow else ()),
    ]
    return _with_base(f"{base}{seen.model}/{seen.version}/{seen.slot}/", records)


def resources_pack(base: str, figures: Mapping[str, float | Unavailable]) -> Pack:
    """The pack of one unit's resources, by the names of RESOURCE_UNITS.

    Raises KeyError for a name that has no unit: consumers know only the documented ones.
    """
    return _with_base(
        base, [_record(name, RESOURCE_UNITS[name], value) for name, value in figures.items()]
    )


def _counts(done: Counters) -> Iterable[Record]:
    counts = {
        "inferences": done.inferences,
        "errors": done.errors,
        "errors.engine": done.errors_engine,
        "errors.deadline": done.errors_deadline,
        "errors.range": done.errors_range,
        "refused": done.refused,
        "latency.count": done.latency.count,
    }
    return [_record(name, "1", float(count)) for name, count in counts.items()]


def _latency(done: Counters) -> Iterable[Record]:
    yield _record("latency.sum", "s", done.latency.sum_ns / 1e9)
    for name, q in QUANTILES:
        found = done.latency.quantile_ns(q)
        value = Unavailable("no inference in the interval") if found is None else found / 1e9
        yield _record(f"latency.{name}", "s", value)
    yield Record(name="latency.sketch", data=done.latency.to_bytes())


def _energy(figure: EnergyFigure | Unavailable) -> Iterable[Record]:
    if isinstance(figure, Unavailable):
        yield _record("energy.per_inference", "J", figure)
        yield _record("power.mean", "W", figure)
        return
    yield _record("energy.per_inference", "J", figure.per_inference_uj / 1e6)
    yield _record("power.mean", "W", figure.mean_mw / 1e3)
    unknown = Unavailable("the sensor's accuracy is not published")
    yield _record("energy.uncertainty", "/", unknown if figure.uncertainty is None
                  else figure.uncertainty)  # fmt: skip
    yield Record(name="energy.source", string=figure.source)


def _record(name: str, unit: str, value: float | Unavailable) -> Record:
    if isinstance(value, Unavailable):
        return Record(name=f"{name}.unavailable", string=value.reason[:256])
    return Record(name=name, unit=unit, value=float(value))


def _with_base(base: str, records: list[Record]) -> Pack:
    if not records:
        return ()
    return (replace(records[0], base_name=base), *records[1:])
