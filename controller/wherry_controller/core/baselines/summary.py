"""Performance windows of one (model MAJOR, hardware class) as figures with their sample sizes.

Counts and sketches add without loss, so quantiles are those of all inferences together. Spread
is that of windows (a minute of one unit is one figure): inferences of one minute are alike, and
counting each of them as a sample would make every difference significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wherry_protocol import sketch
from wherry_protocol.sketch import EMPTY, Sketch

from wherry_controller.core.statistics import Moments
from wherry_controller.core.windows import Window

UNKNOWN = "unknown"  # a source of energy that nobody named
FIGURES = ("error_rate", "latency_us_mean", "latency_us_p95", "energy_uj")


@dataclass(frozen=True, slots=True)
class Summary:
    """`spread` has the moments of each figure over `windows`; energy None: nobody measured it.

    `energy_source` names every source, with commas; `energy_uncertainty` is the largest, None
    where one is not known.
    """

    from_s: int
    to_s: int
    units: int
    windows: int
    inferences: int
    errors: int
    latency: Sketch
    energy_uj: float | None
    energy_inferences: int
    energy_source: str
    energy_uncertainty: float | None
    versions: tuple[str, ...]
    spread: dict[str, Moments] = field(default_factory=dict)

    @property
    def error_rate(self) -> float | None:
        return self.errors / self.inferences if self.inferences else None

    def quantile_us(self, q: float) -> float | None:
        found = self.latency.quantile_ns(q)
        return None if found is None else found / 1e3

    @property
    def mean_us(self) -> float | None:
        return None if self.latency.mean_ns is None else self.latency.mean_ns / 1e3

    @property
    def inferences_per_s(self) -> float | None:
        """Of all units together, over the whole time."""
        return self.inferences / (self.to_s - self.from_s) if self.to_s > self.from_s else None


def major_of(version: str) -> int:
    return int(version.partition(".")[0])


def summarize(windows: Sequence[Window], window_s: int) -> Summary:
    """Windows of one (model MAJOR, class) as one. Raises ValueError where there are none."""
    if not windows:
        raise ValueError("no windows to summarize")
    spread = {name: Moments() for name in FIGURES}
    latencies = []
    for row in windows:
        one = sketch.from_bytes(row.sketch)
        latencies.append(one)
        for name, value in _figures(row, one).items():
            spread[name].add(value)
    powered = [row for row in windows if row.energy_count]
    known = [row.energy_uncertainty for row in powered if row.energy_uncertainty is not None]
    energy_count = sum(row.energy_count for row in powered)
    energy_uj = sum(row.energy_sum_uj for row in powered)
    return Summary(
        min(row.window_s for row in windows),
        max(row.window_s for row in windows) + window_s,
        len({(row.connection, row.unit) for row in windows}),
        len(windows),
        sum(row.inferences for row in windows),
        sum(row.errors for row in windows),
        sketch.merge(latencies) if latencies else EMPTY,
        energy_uj / energy_count if energy_count else None,
        energy_count,
        ", ".join(sorted({row.energy_source or UNKNOWN for row in powered})),
        max(known, default=None) if len(known) == len(powered) else None,
        tuple(sorted({row.version for row in windows})),
        spread,
    )


def _figures(row: Window, latency: Sketch) -> dict[str, float]:
    """What one window says; what it cannot say is left out."""
    found: dict[str, float] = {}
    if row.inferences:
        found["error_rate"] = row.errors / row.inferences
    p95_ns = latency.quantile_ns(0.95)
    if latency.mean_ns is not None and p95_ns is not None:
        found["latency_us_mean"] = latency.mean_ns / 1e3
        found["latency_us_p95"] = p95_ns / 1e3
    if row.energy_count:
        found["energy_uj"] = row.energy_sum_uj / row.energy_count
    return found
