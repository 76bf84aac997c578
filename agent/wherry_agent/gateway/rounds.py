"""Between effects: read the microcontroller's statistics, feed its source, tell its figures.

Called on the unit's thread; `take_figures`, `has_trial` and `status` on any.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wherry_protocol.errors import DecodeError
from wherry_protocol.messages.desired import TelemetryConfig
from wherry_protocol.sketch import EMPTY, Sketch
from wherry_protocol.smp import Statistics

from wherry_agent.config import UnitConfig
from wherry_agent.core.inputs import Figures, Sampled
from wherry_agent.gateway.bundle import McuBundle
from wherry_agent.gateway.duties import Mcu, bring_up, confirm
from wherry_agent.gateway.watch import Watch, dead, seen
from wherry_agent.telemetry import sampling
from wherry_agent.telemetry.counters import Counters
from wherry_agent.telemetry.energy import (
    Basis,
    EnergyFigure,
    Integral,
    Snapshot,
    Unavailable,
    figures,
)
from wherry_agent.telemetry.pack import RESOURCE_UNITS, resources_pack

if TYPE_CHECKING:
    from wherry_agent.gateway.unit import Surroundings

TRIAL_POLL_S_MAX: Final = 1.0
LOOKS_MAX: Final = 3
ROUNDS_BEFORE_CONFIRM: Final = 2
NOT_KNOWN: Final = Unavailable("the microcontroller does not tell")


@dataclass(frozen=True, slots=True)
class Trial:
    """A bundle that is watched, since when, and what it had counted then."""

    bundle: McuBundle
    since_us: int
    before: Counters


class Rounds:
    """The unit's regular work."""

    def __init__(self, config: UnitConfig, mcu: Mcu, around: Surroundings) -> None:
        self._config = config
        self._mcu = mcu
        self._around = around
        now_us = _now_us()
        self._sampling = sampling.begin(around.base, TelemetryConfig(), now_us, Integral())
        self._watch = Watch()
        self._stats: Statistics | None = None
        self._latency: Sketch = EMPTY
        self._trial: Trial | None = None
        self._figures: list[Figures] = []
        self._lock = threading.Lock()
        self._poll_at_s = 0.0
        self._feed_at_s = 0.0
        self._sample_index = 0
        self._settled_rounds = 0

    # --- for any thread

    @property
    def has_trial(self) -> bool:
        return self._trial is not None

    def take_figures(self) -> list[Figures]:
        with self._lock:
            taken, self._figures = self._figures, []
        return taken

    def status(self) -> dict[str, object]:
        stats = self._stats
        if stats is None:
            return {"running": None}
        serving = self._mcu.serving
        return {
            "running": {
                "version": stats.version,
                "image_digest": stats.digest.hex(),
                "is_confirmed": stats.is_confirmed,
                "inferences": stats.inference_count,
                "errors": stats.error_count,
                "refused": stats.refused_count,
                "latency_us_p95": stats.p95_ns // 1000,
                "uptime_s": stats.uptime_ms // 1000,
                "boot": stats.boot_action,
            },
            "serving": f"{serving.manifest.model} {serving.version}" if serving else None,
        }

    # --- for the unit's thread

    def configure(self, config: TelemetryConfig) -> None:
        self._sampling = sampling.configure(self._sampling, config)

    def begin_trial(self, manifest_digest: bytes) -> None:
        """Count from now on. Raises as `go` does."""
        bundle = self._mcu.bundles.get(manifest_digest)
        if bundle is None:
            return
        self._look()
        look = self._watch.look
        before = look.counters if look is not None else Counters()
        self._trial = Trial(bundle, _now_us(), before)
        self._poll_at_s = 0.0

    def end_trial(self) -> None:
        self._trial = None
        self.take_figures()

    def wait_s(self, now_s: float) -> float:
        """How long until a round has something to do."""
        due_s = self._poll_at_s if not self._is_fed() else min(self._poll_at_s, self._feed_at_s)
        return max(due_s - now_s, 0.0)

    def go(self, now_s: float) -> None:
        """What is due now. Raises UnreachableError, DecodeError, RefusedError."""
        if now_s >= self._poll_at_s:
            poll_s = self._config.poll_s
            self._poll_at_s = now_s + (min(poll_s, TRIAL_POLL_S_MAX) if self._trial else poll_s)
            self._look()
            self._keep_on_course()
            self._tell_trial()
            self._tell_telemetry()
        if self._is_fed() and now_s >= self._feed_at_s:
            self._feed(now_s)  # last: samples that do not fit must not keep the rest from it

    # --- feeding

    def _is_fed(self) -> bool:
        return (
            self._around.samples is not None
            and self._mcu.serving is not None
            and not self._mcu.is_isolated
        )

    def _feed(self, now_s: float) -> None:
        samples, bundle = self._around.samples, self._mcu.serving
        if samples is None or bundle is None:
            return
        period_s = samples.period_us / 1e6
        self._feed_at_s = max(self._feed_at_s + period_s, now_s)
        data, size = samples.bytes_for(bundle.manifest.contract.inputs)
        start = self._sample_index * size % len(data)
        self._sample_index += 1
        self._mcu.port.infer(data[start : start + size])

    # --- looking

    def _look(self) -> None:
        for _ in range(LOOKS_MAX):
            stats = self._mcu.port.statistics()
            try:
                latency = self._mcu.port.latency(stats)
            except DecodeError:
                continue  # an inference came between the two answers
            self._saw(stats, latency)
            return
        raise DecodeError(f"unit {self._mcu.name}: its statistics do not hold still")

    def _saw(self, stats: Statistics, latency: Sketch) -> None:
        bundle = next(
            (b for b in self._mcu.bundles.values() if b.image_digest == stats.digest), None
        )
        before = self._watch.look
        self._watch = seen(self._watch, stats, latency, bundle)
        self._stats, self._latency = stats, latency
        now = self._watch.look
        if before is not None and (now is None or now.key != before.key):
            self._sampling = sampling.closing(self._sampling, before)

    def _keep_on_course(self) -> None:
        """Rule 4 of the unit. In a trial the core decides."""
        bundle, stats = self._mcu.serving, self._stats
        if bundle is None or stats is None or self._trial is not None:
            self._settled_rounds = 0
            return
        if stats.digest != bundle.image_digest:
            self._mcu.note(f"runs {stats.version}, wanted is {bundle.version}: bringing it back")
            bring_up(self._mcu, bundle)
            self._settled_rounds = 0
            return
        self._settled_rounds += 1
        if not stats.is_confirmed and self._settled_rounds > ROUNDS_BEFORE_CONFIRM:
            confirm(self._mcu, bundle)  # a confirmation that a crash of the gateway cut off

    # --- telling

    def _tell_trial(self) -> None:
        trial, look = self._trial, self._watch.look
        if trial is None:
            return
        is_there = look is not None and look.manifest_digest == trial.bundle.manifest_digest
        if look is None or not is_there or look.counters.inferences < trial.before.inferences:
            found = dead(self._mcu.name, trial.bundle)
        else:
            energy = self._trial_energy(trial, look)
            found = sampling.trial_figures(self._mcu.name, look, trial.before, energy)
        with self._lock:
            self._figures = [found]

    def _trial_energy(self, trial: Trial, look: sampling.Look) -> EnergyFigure | Unavailable:
        nothing = Integral()
        before = Snapshot(trial.since_us, nothing, {look.key: trial.before.work})
        after = Snapshot(_now_us(), nothing, {look.key: look.counters.work})
        return figures(before, after, self._basis())[look.key]

    def _tell_telemetry(self) -> None:
        now_us = _now_us()
        if sampling.is_performance_due(self._sampling, now_us):
            looks = [self._watch.look] if self._watch.look is not None else []
            self._sampling, packs = sampling.performance(
                self._sampling, now_us, looks, Integral(), self._basis()
            )
            for pack in packs:
                self._around.tell(Sampled(self._mcu.name, pack))
        if sampling.is_resources_due(self._sampling, now_us):
            self._sampling = sampling.resources_sent(self._sampling, now_us)
            self._around.tell(
                Sampled(self._mcu.name, resources_pack(self._around.base, self._resources()))
            )

    def _resources(self) -> dict[str, float | Unavailable]:
        hardware = self._around.hardware()
        serving = self._mcu.serving
        known: dict[str, float | Unavailable] = dict.fromkeys(RESOURCE_UNITS, NOT_KNOWN)
        if serving is not None:
            known["memory.arena"] = float(serving.memory_bytes)
        if hardware is not None:
            known["memory.budget"] = float(hardware.memory_budget_bytes)
        return known

    def _basis(self) -> Basis:
        """A microcontroller has no sensor that this gateway could read: its class's model."""
        hardware = self._around.hardware()
        return Basis(None, None, hardware.energy_model if hardware is not None else None)


def _now_us() -> int:
    return time.monotonic_ns() // 1000
