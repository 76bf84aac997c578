"""What each device adds to the sequential tests: one figure per device, arm and test.

Rules:
1. A device's figure is its mean over its first inferences in its arm, at least
   `DEVICE_INFERENCES`; then it counts, once per rollout. What it reports later is in the pools,
   where the preset's limits look at it.
2. Error rates count up to `ERROR_RATE_CAP` (or ten times the limit), as a part of it: a device that
   is wholly broken is one broken device.
3. Slow is an inference beyond what p95 (p99) may be: the comparison's by the ratio and the excess.
   A model within that limit has at most 5 % (1 %) of such, whatever the shape. The limit is known
   before the device reports (`hold_against`), else its latency does not count.
4. Energy is a part of four times what it may be; only measured or calibrated figures count.
5. A control device's figure waits for a new device; one that waited for too long is let go and may
   come again, so that the control group is of the same hours.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wherry_protocol.sketch import Sketch, from_bytes, upper_edge_ns

from wherry_controller.core.gates import experiment, shadowing
from wherry_controller.core.gates.custom import CustomRule, Samples, Series
from wherry_controller.core.gates.experiment import Experiment
from wherry_controller.core.gates.limits import GateLimits
from wherry_controller.core.gates.pools import TRUSTED, Figures
from wherry_controller.core.gates.shadowing import ShadowFigures, Shadowing
from wherry_controller.core.statistics import TwoSample, Wealth

DEVICE_INFERENCES: Final = 50
ERROR_RATE_CAP: Final = 0.10
ENERGY_CAP: Final = 4.0  # times the limit
SLOW_SHARES: Final = {"p95": 0.05, "p99": 0.01}
ERRORS, LATENCY, ENERGY = 1, 2, 4
ALL: Final = ERRORS | LATENCY | ENERGY
PART: Final = "evidence"


@dataclass(slots=True)
class Tally:
    """What a device has shown so far of what is not counted yet; `counted` are bits."""

    counted: int = 0
    inferences: int = 0
    errors: int = 0
    samples: int = 0
    slow: dict[str, int] = field(default_factory=dict)
    energy_inferences: int = 0
    energy_uj: float = 0.0


@dataclass(frozen=True, slots=True)
class Bar:
    """What a class's figures may be: the longest p95 and p99 and the mean energy; None: unknown."""

    p95_ns: float | None = None
    p99_ns: float | None = None
    energy_uj: float | None = None


DONE: Final = Tally(ALL)


@dataclass(slots=True)
class Panel:
    """The evidence of one rollout. `changed` are the units whose tally is to be kept."""

    errors: Wealth = field(default_factory=Wealth)
    increase: TwoSample = field(default_factory=TwoSample)
    tests: dict[str, Wealth] = field(default_factory=dict)  # "p95 CLASS", "energy CLASS", …
    bars: dict[str, Bar] = field(default_factory=dict)  # by class
    tallies: dict[str, Tally] = field(default_factory=dict)  # of units on the new version
    controls: dict[str, Tally] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)  # units of the waiting control figures
    shadow: Shadowing = field(default_factory=Shadowing)
    experiment: Experiment = field(default_factory=Experiment)
    series: dict[str, Series] = field(default_factory=dict)  # by custom rule
    changed: set[str] = field(default_factory=set)
    is_changed: bool = False

    def hold_against(self, hardware_class: str, bar: Bar) -> None:
        """What the class's devices are held against from now on."""
        if self.bars.get(hardware_class) != bar:
            self.bars[hardware_class] = bar
            self.is_changed = True

    def new(self, unit: str, hardware_class: str, seen: Figures, limits: GateLimits) -> None:
        """A report of a device on the new version."""
        tally = self.tallies.get(unit)
        if tally is DONE:
            return
        if tally is None:
            tally = self.tallies[unit] = Tally()
        self.changed.add(unit)
        if not tally.counted & ERRORS:
            self._count_errors(tally, seen, limits)
        bar = self.bars.get(hardware_class, Bar())
        if not tally.counted & LATENCY and bar.p95_ns is not None and bar.p99_ns is not None:
            self._count_latency(tally, hardware_class, from_bytes(seen.sketch.data), bar)
        if not tally.counted & ENERGY and bar.energy_uj:
            self._count_energy(tally, hardware_class, seen, bar.energy_uj)
        if tally.counted == ALL:
            self.tallies[unit] = DONE

    def _count_errors(self, tally: Tally, seen: Figures, limits: GateLimits) -> None:
        tally.inferences += seen.inferences
        tally.errors += seen.errors
        if tally.inferences < DEVICE_INFERENCES:
            return
        tally.counted |= ERRORS
        rate, cap = tally.errors / tally.inferences, error_cap(limits)
        if 0.0 < limits.error_rate_max < cap:
            self.errors.add(min(1.0, rate / cap), limits.error_rate_max / cap)
        self.increase.add_new(min(1.0, rate / ERROR_RATE_CAP))
        self._match()

    def _count_latency(self, tally: Tally, name: str, latencies: Sketch, bar: Bar) -> None:
        tally.samples += latencies.count
        for label, longest_ns in (("p95", bar.p95_ns), ("p99", bar.p99_ns)):
            slow = tally.slow.get(label, 0) + count_above(latencies, longest_ns or 0.0)
            tally.slow[label] = slow
        if tally.samples < DEVICE_INFERENCES:
            return
        tally.counted |= LATENCY
        for label, share in SLOW_SHARES.items():
            self._test(label, name).add(tally.slow[label] / tally.samples, share)

    def _count_energy(self, tally: Tally, name: str, seen: Figures, limit_uj: float) -> None:
        if seen.energy_uj is None or not seen.energy_source.startswith(TRUSTED):
            return
        tally.energy_inferences += seen.inferences
        tally.energy_uj += seen.energy_uj * seen.inferences
        if tally.energy_inferences < DEVICE_INFERENCES:
            return
        tally.counted |= ENERGY
        mean_uj = tally.energy_uj / tally.energy_inferences
        self._test("energy", name).add(min(1.0, mean_uj / (ENERGY_CAP * limit_uj)), 1 / ENERGY_CAP)

    def control(self, unit: str, seen: Figures) -> None:
        """A report of a device that is not on the new version."""
        tally = self.controls.get(unit)
        if tally is DONE:
            return
        if tally is None:
            tally = self.controls[unit] = Tally()
        self.changed.add(unit)
        tally.inferences += seen.inferences
        tally.errors += seen.errors
        if tally.inferences < DEVICE_INFERENCES:
            return
        self.increase.add_control(min(1.0, tally.errors / tally.inferences / ERROR_RATE_CAP))
        self.controls[unit] = DONE
        self.waiting.append(unit)
        for gone in self.waiting[: -len(self.increase.control_waiting)]:
            self.controls.pop(gone, None)
            self.changed.add(gone)
        del self.waiting[: -len(self.increase.control_waiting)]
        self._match()

    def sample(self, rule: CustomRule, value: float, at_s: float) -> None:
        """A custom figure was pushed."""
        self.series.setdefault(rule.name, Series()).add(rule, value, at_s)
        self.is_changed = True

    def shadowed(self, unit: str, seen: ShadowFigures, limits: GateLimits) -> None:
        """A report of a device's shadow."""
        self.shadow.add(unit, seen, limits)
        self.changed.add(unit)
        self.is_changed = True

    def shadow_anew(self, unit: str) -> None:
        """Another bundle serves there: what was compared with the one before says nothing of it."""
        if unit in self.shadow.devices:
            self.shadow.devices[unit] = [0, 0]
            self.changed.add(unit)

    def _match(self) -> None:
        self.is_changed = True
        self.increase.match()
        del self.waiting[len(self.increase.control_waiting) :]

    def _test(self, label: str, hardware_class: str) -> Wealth:
        self.is_changed = True
        return self.tests.setdefault(f"{label} {hardware_class}", Wealth())

    def evidence(self, *labels: str, hardware_class: str) -> tuple[float, int]:
        """(mean evidence, devices) of a class's tests; a mean of e-values is one."""
        found = [self.tests.get(f"{label} {hardware_class}", Wealth()) for label in labels]
        return sum(one.evidence for one in found) / len(found), max(one.count for one in found)

    # --- kept in parts, as everything of a rollout

    def changes(self) -> dict[str, str | None]:
        """The parts that changed since the last call; None: it is gone."""
        found: dict[str, str | None] = {}
        for unit in sorted(self.changed):
            for name, side in (("new", self.tallies), ("control", self.controls)):
                tally = side.get(unit)
                found[f"tally/{name}/{unit}"] = None if tally is None else _tally_text(tally)
            if unit in self.shadow.devices:
                found[f"shadow/{unit}"] = json.dumps(self.shadow.devices[unit])
        if self.is_changed:
            found[PART] = self._text()
        found |= self.experiment.changes()
        self.changed.clear()
        self.is_changed = False
        return found

    def all_parts(self) -> dict[str, str]:
        """Every part."""
        sides = (("new", self.tallies), ("control", self.controls))
        found = {
            f"tally/{name}/{unit}": _tally_text(tally)
            for name, side in sides
            for unit, tally in side.items()
        }
        shown = {f"shadow/{unit}": json.dumps(one) for unit, one in self.shadow.devices.items()}
        return found | shown | self.experiment.all_parts() | {PART: self._text()}

    def _text(self) -> str:
        increase = self.increase
        return json.dumps(
            {
                "errors": [self.errors.logs, self.errors.count],
                "increase": [
                    increase.logs,
                    increase.blocks,
                    increase.new_waiting,
                    increase.control_waiting,
                ],
                "tests": {name: [one.logs, one.count] for name, one in self.tests.items()},
                "bars": {
                    name: [bar.p95_ns, bar.p99_ns, bar.energy_uj] for name, bar in self.bars.items()
                },
                "waiting": self.waiting,
                "shadow": shadowing.kept(self.shadow),
                "series": {
                    name: [_values(part) for part in one.parts] for name, one in self.series.items()
                },
            }
        )


def restored(parts: Mapping[str, str]) -> Panel:
    """The panel of its parts. Raises KeyError, TypeError, ValueError where they are not ours."""
    panel = Panel()
    for name, text in parts.items():
        if name.startswith("tally/"):
            _, arm, unit = name.split("/", 2)
            side = panel.tallies if arm == "new" else panel.controls
            tally = Tally(**json.loads(text))
            side[unit] = DONE if tally.counted == ALL else tally
    panel.experiment = experiment.restored(parts)
    kept: dict[str, Any] = json.loads(parts[PART]) if PART in parts else {}
    if kept:
        panel.errors = Wealth(*kept["errors"])
        panel.increase = TwoSample(0.0, *kept["increase"])
        panel.tests = {name: Wealth(*one) for name, one in kept["tests"].items()}
        panel.bars = {name: Bar(*bar) for name, bar in kept["bars"].items()}
        panel.waiting = kept["waiting"]
        devices = {
            name.removeprefix("shadow/"): json.loads(text)
            for name, text in parts.items()
            if name.startswith("shadow/")
        }
        panel.shadow = shadowing.restored(kept["shadow"], devices)
        panel.series = {
            name: Series([Samples(**part) for part in rows])
            for name, rows in kept["series"].items()
        }
    return panel


def _tally_text(tally: Tally) -> str:
    return json.dumps({name: value for name, value in _values(tally).items() if value})


def _values(one: Tally | Samples) -> dict[str, Any]:
    return {name: getattr(one, name) for name in type(one).__slots__}


def error_cap(limits: GateLimits) -> float:
    """Error rates count up to here."""
    return min(1.0, max(ERROR_RATE_CAP, 10 * limits.error_rate_max))


def count_above(latencies: Sketch, longest_ns: float) -> int:
    """How many samples lie in buckets that reach above: as a quantile of the sketch is told."""
    return sum(n for bucket, n in latencies.buckets.items() if upper_edge_ns(bucket) > longest_ns)
