"""What an inference loop counted for one loaded model, and what it did between two looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry_protocol.sketch import EMPTY, Sketch
from wherry_protocol.sketch import since as sketch_since

from wherry_agent.telemetry.energy import Work

if TYPE_CHECKING:
    from wherry_native.loop import InstanceStats


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since the model was loaded (or differences of two such totals).

    `inferences` counts every run, good or not; an error is an engine status, a missed deadline or
    an output outside the manifest's range, and a run with several of them is one of `errors`;
    `refused` inputs never ran and are no errors.
    """

    inferences: int = 0
    errors: int = 0
    errors_engine: int = 0
    errors_deadline: int = 0
    errors_range: int = 0
    refused: int = 0
    cpu_ns: int = 0
    cycles: int = 0
    latency: Sketch = EMPTY

    @property
    def work(self) -> Work:
        return Work(self.inferences, self.cpu_ns, self.cycles)


def since(now: Counters, before: Counters) -> Counters:
    """What came after `before`. Raises ValueError where a count went back: not the same model."""
    if now.inferences < before.inferences:
        raise ValueError(f"{now.inferences} inferences after {before.inferences}")
    return Counters(
        inferences=now.inferences - before.inferences,
        errors=now.errors - before.errors,
        errors_engine=now.errors_engine - before.errors_engine,
        errors_deadline=now.errors_deadline - before.errors_deadline,
        errors_range=now.errors_range - before.errors_range,
        refused=now.refused - before.refused,
        cpu_ns=now.cpu_ns - before.cpu_ns,
        cycles=now.cycles - before.cycles,
        latency=sketch_since(now.latency, before.latency),
    )


def counters_of(stats: InstanceStats) -> Counters:
    """The counters of a loaded model as its inference loop keeps them."""
    latency = stats.latency
    return Counters(
        inferences=stats.inferences,
        errors=stats.errors,
        errors_engine=stats.errors_engine,
        errors_deadline=stats.errors_deadline,
        errors_range=stats.errors_range,
        refused=stats.refused,
        cpu_ns=stats.cpu_ns,
        cycles=stats.cycles,
        latency=Sketch(latency.count, latency.sum_ns, latency.max_ns, dict(latency.buckets)),
    )
