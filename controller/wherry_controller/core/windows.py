"""Performance windows: every report of one (unit, model, version, slot) added up.

Counts and sketches add without loss; energy is a sum over the inferences that it was measured
for, so that its mean stays right whatever the reports' sizes.
"""

from dataclasses import dataclass, replace

from wherry_protocol import sketch
from wherry_protocol.sketch import Sketch

from wherry_controller.core.performance import Performance

UJ_PER_J = 1e6
MW_PER_W = 1e3
SKETCHES_MAX = 64  # kept apart in memory before they are put together

WindowKey = tuple[str, str, str, bytes, str]  # connection, unit, model, digest, slot


@dataclass(frozen=True, slots=True)
class Window:
    """All reports of one (unit, model, version, slot) whose time falls into one window."""

    connection: str
    unit: str
    model: str
    digest: bytes
    slot: str
    window_s: int
    version: str
    inferences: int
    errors: int
    errors_engine: int
    errors_deadline: int
    errors_range: int
    refused: int
    latency_count: int
    latency_sum_ns: int
    sketch: bytes
    energy_count: int
    energy_sum_uj: float
    energy_source: str
    energy_uncertainty: float | None
    power_mw: float | None
    reports: int


@dataclass(slots=True)
class Tally:
    """A window while reports come in: its sketches are put together once, at the end."""

    window: Window
    sketches: list[Sketch]

    def add(self, one: Performance) -> None:
        """One more report."""
        self.sketches.append(one.latency)
        if len(self.sketches) >= SKETCHES_MAX:
            self.sketches = [sketch.merge(self.sketches)]
        self.window = _counted(self.window, one)

    def total(self) -> Window:
        """The window with every report that was added."""
        both = sketch.merge(self.sketches)
        return replace(
            self.window,
            latency_count=both.count,
            latency_sum_ns=both.sum_ns,
            sketch=both.to_bytes(),
        )


def tally(key: WindowKey, window_s: int, version: str, stored: Window | None) -> Tally:
    """What is stored of a window, or one before its first report."""
    if stored is not None:
        return Tally(stored, [sketch.from_bytes(stored.sketch)])
    return Tally(empty_window(key, window_s, version), [])


def empty_window(key: WindowKey, window_s: int, version: str) -> Window:
    """The window before its first report."""
    nothing = sketch.EMPTY.to_bytes()
    return Window(
        *key, window_s, version, 0, 0, 0, 0, 0, 0, 0, 0, nothing, 0, 0.0, "", None, None, 0
    )


def _counted(window: Window, one: Performance) -> Window:
    has_energy = one.energy_j is not None and one.inferences > 0
    energy_uj = (one.energy_j or 0.0) * UJ_PER_J * one.inferences
    return replace(
        window,
        inferences=window.inferences + one.inferences,
        errors=window.errors + one.errors,
        errors_engine=window.errors_engine + one.errors_engine,
        errors_deadline=window.errors_deadline + one.errors_deadline,
        errors_range=window.errors_range + one.errors_range,
        refused=window.refused + one.refused,
        energy_count=window.energy_count + (one.inferences if has_energy else 0),
        energy_sum_uj=window.energy_sum_uj + (energy_uj if has_energy else 0.0),
        energy_source=one.energy_source or window.energy_source,
        energy_uncertainty=_newer(one.energy_uncertainty, window.energy_uncertainty),
        power_mw=_newer(None if one.power_w is None else one.power_w * MW_PER_W, window.power_mw),
        reports=window.reports + 1,
    )


def _newer(new: float | None, old: float | None) -> float | None:
    return old if new is None else new
