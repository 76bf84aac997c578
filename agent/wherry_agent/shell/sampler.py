"""Turns what the loops count and the host says into telemetry, at the unit's intervals."""

import queue
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wherry_native.loop import Hold
from wherry_protocol.hardware import EnergyModel, HardwareClass
from wherry_protocol.messages.desired import TelemetryConfig
from wherry_protocol.names import SELF

from wherry_agent.config import Config
from wherry_agent.core.inputs import Sampled
from wherry_agent.shell.energy.meter import Meter
from wherry_agent.shell.loop_host import LoopHost
from wherry_agent.shell.resources import CpuMark, read_resources
from wherry_agent.telemetry import sampling
from wherry_agent.telemetry.energy import (
    EnergyFigure,
    Integral,
    Snapshot,
    Unavailable,
    Work,
    figures,
)
from wherry_agent.telemetry.glance import counted, plain
from wherry_agent.telemetry.pack import resources_pack, unit_base
from wherry_agent.telemetry.sampling import ACTIVE, CANDIDATE, PREVIOUS, SHADOW, Look
from wherry_agent.telemetry.shadow import (
    Cost,
    Heat,
    Limits,
    Spending,
    expected,
    hold,
    spending,
)

NO_COST = Unavailable("no active bundle")


class Sampler:
    """Looks at the loops and the host of the unit `self`; on the runtime's thread."""

    def __init__(
        self,
        config: Config,
        org: str,
        connection: str,
        host: LoopHost,
        now_us: int,
        send: Callable[[Sampled], None],
    ) -> None:
        self._config = config
        self._host = host
        self._send = send
        self._meter = Meter(config.energy)
        self._base = unit_base(org, connection, SELF)
        self._state = sampling.begin(self._base, TelemetryConfig(), now_us, Integral())
        self._trials: dict[str, Snapshot] = {}
        self._cpu: CpuMark | None = None
        self._resources: Mapping[str, float | Unavailable] = {}
        self._spending: Mapping[str, Spending | None] = {}  # by model that has a shadow
        self._holds: Mapping[str, Hold] = {}
        self._now_us = now_us
        self._metered_us = now_us
        self._closed: queue.SimpleQueue[Look] = queue.SimpleQueue()
        self._door_refused: Counter[str] = Counter()
        self._door_seen: Counter[str] = Counter()
        self.refused_at_door: Callable[[str], int] = lambda _model: 0
        self.spool: Callable[[], tuple[int, int]] = lambda: (0, 0)  # (bytes, dropped)
        self.is_candidate: Callable[[str, bytes], bool] = lambda _model, _digest: False
        self.hardware: Callable[[], HardwareClass | None] = lambda: None

    def configure(self, config: TelemetryConfig) -> None:
        self._state = sampling.configure(self._state, config)

    def closing(self, look: Look) -> None:
        """A bundle is unloaded, on any thread: its last counts are not lost."""
        self._closed.put(look)

    def _take_closed(self) -> None:
        while not self._closed.empty():
            look = self._with_refused(self._closed.get())
            self._state = sampling.closing(self._state, look)

    def tick(self, now_us: int) -> None:
        """Whatever is due: the sensor, performance packs, the resources pack."""
        self._now_us = now_us
        if now_us - self._metered_us >= self._config.energy.sample_s * 1e6:
            self._metered_us = now_us
            self._meter.sample(now_us)
        if sampling.is_performance_due(self._state, now_us):
            self.send_performance()
        if sampling.is_resources_due(self._state, now_us):
            self._send_resources(now_us)

    def send_performance(self) -> None:
        """The interval ends now."""
        self._take_closed()
        kept = self._host.disagreements()
        looks = [
            replace(self._with_refused(look), disagreements=kept.get(look.key, ()))
            for look in self._host.looks()
        ]
        self._hold_shadows(looks)
        rail = self._snapshot().rail
        basis = self._meter.basis(self._energy_model())
        self._state, packs = sampling.performance(self._state, self._now_us, looks, rail, basis)
        for pack in packs:
            self._send(Sampled(SELF, pack))

    def _with_refused(self, look: Look) -> Look:
        """Inputs that the door refused count for the bundle that served then."""
        if look.slot == ACTIVE:
            seen = self.refused_at_door(look.model)
            self._door_refused[look.key] += seen - self._door_seen[look.model]
            self._door_seen[look.model] = seen
        refused = look.counters.refused + self._door_refused[look.key]
        return replace(look, counters=replace(look.counters, refused=refused))

    def _hold_shadows(self, looks: list[Look]) -> None:
        """In the next interval: by what both cost when they last ran, and the temperature."""
        hardware = self.hardware()
        shadowed = {look.model: look for look in looks if look.slot == SHADOW}
        if hardware is None or not shadowed:
            self._spending = {}
            return
        rail, basis = self._snapshot().rail, self._meter.basis(self._energy_model())
        costs = sampling.energy_now(self._state, self._now_us, looks, rail, basis)
        active = {look.model: costs[look.key] for look in looks if look.slot == ACTIVE}
        heat = Heat(self._resources.get("temperature"), hardware.temperature_c_max)
        limits = Limits(hardware.energy_uj_max, hardware.power_mw_max)
        known = {
            model: self._spent(look, active.get(model, NO_COST), costs[look.key])
            for model, look in shadowed.items()
        }
        self._spending = known
        self._holds = {
            model: hold(heat, expected(one, active.get(model, NO_COST)), limits)
            for model, one in known.items()
        }
        self._host.hold_shadows(self._holds)

    def _spent(self, look: Look, active: Cost, shadow: Cost) -> Spending | None:
        was_held = self._holds.get(look.model, Hold.NONE) is not Hold.NONE
        before = self._spending.get(look.model)
        return spending(before, was_held, look.key, active, shadow, self._now_us)

    def _energy_model(self) -> EnergyModel | None:
        hardware = self.hardware()
        return hardware.energy_model if hardware else None

    def _snapshot(self) -> Snapshot:
        work = {look.key: look.counters.work for look in self._host.looks()}
        return self._meter.snapshot(self._now_us, work)

    # --- what a trial costs (loop_host.TrialEnergy)

    def begin(self, model: str) -> None:
        self._trials[model] = self._snapshot()

    def figure(self, model: str, key: str) -> EnergyFigure | Unavailable:
        before = self._trials.get(model)
        if before is None:
            return Unavailable("the trial has not begun")
        known = {key: Work(), **before.work}
        after = self._snapshot()
        basis = self._meter.basis(self._energy_model())
        found = figures(replace(before, work=known), after, basis)
        return found.get(key, Unavailable("the bundle is not loaded"))

    # --- for GET /status, on any thread

    def glance(self, now_us: int) -> Mapping[str, Any]:
        """What every loaded bundle did since it was loaded, and the latest look at the host."""
        state = self._state  # before the looks, which then cannot be older
        looks = [self._placed(self._with_refused_so_far(look)) for look in self._host.looks()]
        rail = self._meter.snapshot(now_us, {}).rail
        basis = self._meter.basis(self._energy_model())
        energy = sampling.energy_now(state, now_us, looks, rail, basis)
        return {
            "loaded": [{"model": look.model, **counted(look, energy[look.key])} for look in looks],
            "resources": plain(self._resources),
        }

    def _placed(self, look: Look) -> Look:
        """The loops know what serves and what is a shadow, not what else a bundle is loaded for."""
        is_warm = look.slot == PREVIOUS and self.is_candidate(look.model, look.manifest_digest)
        return replace(look, slot=CANDIDATE) if is_warm else look

    def _with_refused_so_far(self, look: Look) -> Look:
        """As `_with_refused`, remembering nothing."""
        unseen = 0
        if look.slot == ACTIVE:
            unseen = self.refused_at_door(look.model) - self._door_seen[look.model]
        refused = look.counters.refused + self._door_refused[look.key] + unseen
        return replace(look, counters=replace(look.counters, refused=refused))

    # --- resources

    def _send_resources(self, now_us: int) -> None:
        self._state = sampling.resources_sent(self._state, now_us)
        data_dir: Path = self._config.state_dir / "data"
        found, self._cpu = read_resources(self._config.resources, data_dir, self._cpu, now_us)
        spool_bytes, spool_dropped = self.spool()
        hardware = self.hardware()
        no_class = Unavailable("the unit has no hardware class")
        figures_now = {
            "temperature": found.temperature_c,
            "memory.rss": found.rss_bytes,
            "memory.arena": float(self._host.arena_bytes()),
            "memory.budget": float(hardware.memory_budget_bytes) if hardware else no_class,
            "cpu": found.cpu_ratio,
            "storage.used": found.storage_used_bytes,
            "storage.free": found.storage_free_bytes,
            "spool.bytes": float(spool_bytes),
            "spool.dropped": float(spool_dropped),
            "network.sent": found.network_sent_bytes,
            "network.received": found.network_received_bytes,
        }
        self._resources = figures_now
        self._send(Sampled(SELF, resources_pack(self._base, figures_now)))
