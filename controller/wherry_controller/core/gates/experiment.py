"""An A/B experiment: the devices that a rollout treats, against its other devices.

Rules:
1. A device is in the treatment while its rank is among the opened ones, else in the control group.
   The rank is SHA-256 of the rollout's id and the unit's name, so it is the same in every process,
   and widening never takes a device out of the treatment.
2. A device is one figure per arm and metric: its mean over its first `experiment_s` there. It
   counts when that time is over, once; so one may look at any time (`statistics.intervals`).
3. A device that is widened into the treatment before its time was over leaves the control group
   uncounted. One that had counted stays there.
4. Metrics: success (of inferences) and latency, always; energy, where it is measured or calibrated;
   result_success and result_latency_ms, where somebody pushes what the device's users saw
   (`wherry metric push success 1 --unit U --rollout ID`, and latency_ms).
5. Advice: continue with fewer than `experiment_devices_min` devices per arm; rollback where a
   success is significantly worse or below `SUCCESS_FLOOR`, or a latency is significantly worse by
   more than `LATENCY_LIFT_MAX`; rollout where nothing is significantly worse and something is
   significantly better; else continue. Nothing is done by itself.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Final

from wherry_controller.core.gates.limits import GateLimits
from wherry_controller.core.gates.pools import TRUSTED, Figures
from wherry_controller.core.statistics import Lift, Moments, compare_means, compare_rates

SUCCESS_FLOOR: Final = 0.95
LATENCY_LIFT_MAX: Final = 0.05
SUCCESSES: Final = ("success", "result_success")
LATENCIES: Final = ("latency_us", "result_latency_ms")
METRICS: Final = (*SUCCESSES, *LATENCIES, "energy_uj")
RESULTS: Final = {"success": "result_success", "latency_ms": "result_latency_ms"}
PART: Final = "experiment"


class Variant(Enum):
    TREATMENT = "treatment"
    CONTROL = "control"


class Advice(Enum):
    ROLLOUT = "rollout"
    ROLLBACK = "rollback"
    CONTINUE = "continue"


@dataclass(slots=True)
class Watched:
    """A device that does not count yet: since when it is watched, and metric -> [sum, weight]."""

    since_s: float
    sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, metric: str, total: float, weight: float) -> None:
        """More of a metric."""
        mine = self.sums.setdefault(metric, [0.0, 0.0])
        mine[0] += total
        mine[1] += weight


Key = tuple[Variant, str]


@dataclass(slots=True)
class Experiment:
    """Both arms. `watched` is None for a device that has counted; `changed` are those to keep."""

    watched: dict[Key, Watched | None] = field(default_factory=dict)
    arms: dict[Variant, dict[str, Moments]] = field(
        default_factory=lambda: {variant: {} for variant in Variant}
    )
    began_s: float | None = None
    changed: set[Key] = field(default_factory=set)

    def report(
        self, variant: Variant, unit: str, seen: Figures, at_s: float, limits: GateLimits
    ) -> None:
        """A device's figures of one interval that ended then."""
        watched = self._of(variant, unit, at_s)
        if watched is None:
            return
        watched.add("success", seen.inferences - seen.errors, seen.inferences)
        watched.add("latency_us", seen.sketch.sum_ns / 1e3, seen.sketch.count)
        if seen.energy_uj is not None and seen.energy_source.startswith(TRUSTED):
            watched.add("energy_uj", seen.energy_uj * seen.inferences, seen.inferences)
        if at_s - watched.since_s >= limits.experiment_s:
            self._count(variant, unit, watched)

    def result(self, variant: Variant, unit: str, name: str, value: float, at_s: float) -> None:
        """What somebody pushed of what the device's users saw; other names mean nothing here."""
        metric = RESULTS.get(name)
        watched = None if metric is None else self._of(variant, unit, at_s)
        if watched is not None and metric is not None:
            watched.add(metric, min(max(value, 0.0), 1.0) if name == "success" else value, 1.0)

    def _of(self, variant: Variant, unit: str, at_s: float) -> Watched | None:
        if variant is Variant.TREATMENT and self.watched.get((Variant.CONTROL, unit)) is not None:
            del self.watched[Variant.CONTROL, unit]
            self.changed.add((Variant.CONTROL, unit))
        key = (variant, unit)
        if key in self.watched and self.watched[key] is None:
            return None
        self.began_s = at_s if self.began_s is None else self.began_s
        self.changed.add(key)
        return self.watched.setdefault(key, Watched(at_s))

    def _count(self, variant: Variant, unit: str, watched: Watched) -> None:
        for metric, (total, weight) in watched.sums.items():
            if weight:
                self.arms[variant].setdefault(metric, Moments()).add(total / weight)
        self.watched[variant, unit] = None

    # --- kept in parts

    def changes(self) -> dict[str, str | None]:
        """The parts that changed since the last call; None: it is gone."""
        found = {_name(key): self._text(key) for key in self.changed}
        if self.changed:
            found[PART] = self._head()
        self.changed.clear()
        return found

    def all_parts(self) -> dict[str, str]:
        """Every part."""
        found = {_name(key): text for key in self.watched if (text := self._text(key))}
        return found | {PART: self._head()} if found else {}

    def _text(self, key: Key) -> str | None:
        if key not in self.watched:
            return None
        watched = self.watched[key]
        return json.dumps(None if watched is None else [watched.since_s, watched.sums])

    def _head(self) -> str:
        arms = {
            variant.value: {name: asdict(one) for name, one in arm.items()}
            for variant, arm in self.arms.items()
        }
        return json.dumps({"arms": arms, "began_s": self.began_s})


def _name(key: Key) -> str:
    return f"arm/{key[0].value}/{key[1]}"


def restored(parts: Mapping[str, str]) -> Experiment:
    """The experiment of its parts. Raises KeyError, TypeError, ValueError for others."""
    found = Experiment()
    for name, text in parts.items():
        if name.startswith("arm/"):
            _, variant, unit = name.split("/", 2)
            kept = json.loads(text)
            watched = None if kept is None else Watched(*kept)
            found.watched[Variant(variant), unit] = watched
    if PART in parts:
        head = json.loads(parts[PART])
        found.began_s = head["began_s"]
        for variant, arm in head["arms"].items():
            found.arms[Variant(variant)] = {name: Moments(**one) for name, one in arm.items()}
    return found


# --- what it says


def lifts(experiment: Experiment, alpha: float) -> dict[str, Lift]:
    """metric -> treatment against control, where both have devices."""
    treatment, control = (experiment.arms[variant] for variant in Variant)
    found: dict[str, Lift] = {}
    for metric in METRICS:
        if metric in treatment and metric in control:
            compare = compare_rates if metric in SUCCESSES else compare_means
            found[metric] = compare(treatment[metric], control[metric], alpha)
    return found


def advise(experiment: Experiment, limits: GateLimits) -> tuple[Advice, str]:
    """What to do, and why (rule 5)."""
    counts = [experiment.arms[variant].get("success", Moments()).count for variant in Variant]
    if min(counts) < limits.experiment_devices_min:
        return Advice.CONTINUE, (
            f"{counts[0]} devices of the treatment and {counts[1]} of the control group have been"
            f" watched for {limits.experiment_s / 3_600:g} h, at least"
            f" {limits.experiment_devices_min} each are needed"
        )
    found = lifts(experiment, limits.experiment_alpha)
    worse = [text for metric, lift in found.items() if (text := _worse(experiment, metric, lift))]
    if worse:
        return Advice.ROLLBACK, "; ".join(worse)
    significant = {metric: lift for metric, lift in found.items() if lift.is_significant}
    better = [m for m, lift in significant.items() if (lift.difference > 0) == (m in SUCCESSES)]
    if better and len(better) == len(significant):
        return Advice.ROLLOUT, f"significantly better: {', '.join(better)}; nothing is worse"
    return Advice.CONTINUE, "no significant difference that decides"


def _worse(experiment: Experiment, metric: str, lift: Lift) -> str:
    """Why this metric asks for a rollback; empty if it does not."""
    mean = experiment.arms[Variant.TREATMENT][metric].mean
    if metric in SUCCESSES and mean < SUCCESS_FLOOR:
        return f"{metric} is {mean:.4f}, below {SUCCESS_FLOOR:g}"
    if metric in SUCCESSES and lift.is_significant and lift.difference < 0:
        return f"{metric} is significantly lower by {-lift.difference:.4f}"
    share = lift.share or 0.0
    if metric in LATENCIES and lift.is_significant and share > LATENCY_LIFT_MAX:
        return f"{metric} is significantly higher by {share:.1%}"
    return ""


def experiment_report(experiment: Experiment, limits: GateLimits) -> dict[str, Any]:
    """Everything, for people: both arms, each metric's lift with its bounds, the advice."""
    advice, why = advise(experiment, limits)
    watching = {
        variant.value: sum(
            one is not None and key[0] is variant for key, one in experiment.watched.items()
        )
        for variant in Variant
    }
    return {
        "recommendation": advice.value,
        "why": why,
        "alpha": limits.experiment_alpha,
        "devices_min": limits.experiment_devices_min,
        "watch_s": limits.experiment_s,
        "began_s": experiment.began_s,
        "watching": watching,
        "arms": {
            variant.value: {
                name: {"devices": one.count, "mean": one.mean, "variance": one.variance}
                for name, one in sorted(arm.items())
            }
            for variant, arm in experiment.arms.items()
        },
        "lifts": {
            name: _lift_row(lift)
            for name, lift in lifts(experiment, limits.experiment_alpha).items()
        },
    }


def _lift_row(lift: Lift) -> dict[str, Any]:
    is_bounded = abs(lift.low) < 1e300
    return {
        "difference": lift.difference,
        "lift": lift.share,
        "low": lift.low if is_bounded else None,
        "high": lift.high if is_bounded else None,
        "is_significant": lift.is_significant,
        "classical": {"test": lift.classical, "statistic": lift.statistic, "p": lift.p_value},
    }
