"""Performance windows: every report of one (unit, model, version, slot) added up.

Counts and sketches add without loss; energy is a sum over the inferences that it was measured
for, so that its mean stays right whatever the reports' sizes.
"""

from dataclasses import dataclass
from typing import Final

from wherry_native import sketch

from wherry_controller.core.performance import Performance

UJ_PER_J: Final = 1e6
MW_PER_W: Final = 1e3

WindowKey = tuple[str, str, str, bytes, str]  # connection, unit, model, digest, slot


@dataclass(slots=True)
class Window:
    """All reports of one (unit, model, version, slot) whose time falls into one window."""

    connection: str
    unit: str
    model: str
    digest: bytes
    slot: str
    window_s: int
    version: str
    inferences: int = 0
    errors: int = 0
    errors_engine: int = 0
    errors_deadline: int = 0
    errors_range: int = 0
    refused: int = 0
    latency_count: int = 0
    latency_sum_ns: int = 0
    sketch: bytes = sketch.EMPTY.data
    energy_count: int = 0
    energy_sum_uj: float = 0.0
    energy_source: str = ""
    energy_uncertainty: float | None = None
    power_mw: float | None = None
    reports: int = 0

    def add(self, one: Performance) -> None:
        """One more report."""
        self.inferences += one.inferences
        self.errors += one.errors
        self.errors_engine += one.errors_engine
        self.errors_deadline += one.errors_deadline
        self.errors_range += one.errors_range
        self.refused += one.refused
        self.latency_count += one.latency.count
        self.latency_sum_ns += one.latency.sum_ns
        self.sketch = sketch.merge(self.sketch, one.latency.data)
        if one.energy_j is not None and one.inferences > 0:
            self.energy_count += one.inferences
            self.energy_sum_uj += one.energy_j * UJ_PER_J * one.inferences
        self.energy_source = one.energy_source or self.energy_source
        if one.energy_uncertainty is not None:
            self.energy_uncertainty = one.energy_uncertainty
        if one.power_w is not None:
            self.power_mw = one.power_w * MW_PER_W
        self.reports += 1
