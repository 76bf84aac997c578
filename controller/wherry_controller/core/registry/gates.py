"""Release gates: is this version good enough to be let into production?

Rules, in order:
1. A figure that is missing fails its gate; so does one whose dataset nobody can name by digest.
2. Where several records have a figure, the worst one counts.
3. A limit other than the default one is an override, and every verdict says so.
4. Latency is judged twice: the worst recorded p95 against the absolute limit, and per hardware
   class what was measured on that class (a record of it, or the fleet) against its budget.

Defaults: accuracy at least 0.80, macro F1 at least 0.75, p95 below 10 ms over 1,000 runs.

    gates = release_gates(manifest, GateLimits(), {"linux-arm64": Measured(0, 0)})
    is_good = all(gate.is_passed for gate in gates)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Final

from wherry_protocol.errors import Code, StateError
from wherry_protocol.manifest import Budget, Evaluation, Manifest

from wherry_controller.core.registry.fits import memory_bytes


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What a version must reach; `[gates.NAME]` overrides it for one model."""

    accuracy_min: float = 0.80
    f1_macro_min: float = 0.75
    latency_us_p95_max: int = 10_000  # not reached
    latency_runs_min: int = 1_000


DEFAULTS: Final = GateLimits()


@dataclass(frozen=True, slots=True)
class Measured:
    """What the fleet measured of this version on one hardware class."""

    latency_us_p95: float
    inferences: int


@dataclass(frozen=True, slots=True)
class Gate:
    """One check with its evidence. `figure` None: nobody measured it, so it failed."""

    name: str
    figure: float | None
    limit: float
    is_passed: bool
    text: str
    override: str = ""  # "instead of …" where the limit is not the default one


def release_gates(
    manifest: Manifest, limits: GateLimits, measured: Mapping[str, Measured]
) -> tuple[Gate, ...]:
    """Every gate of the version, those of all classes first. `measured` is by hardware class."""
    named = [record for record in manifest.evaluations if record.dataset_digest is not None]
    found = [
        _at_least("accuracy", "accuracy_min", limits, ((r.accuracy, r) for r in named)),
        _at_least("f1_macro", "f1_macro_min", limits, ((r.f1_macro, r) for r in named)),
        _latency(manifest.evaluations, limits),
    ]
    for name, budget in sorted(manifest.budgets.items()):
        found.append(_memory(manifest, name, budget))
        found.append(_class_latency(manifest, name, budget, limits, measured.get(name)))
    if not manifest.budgets:
        found.append(Gate("budgets", None, 0.0, False, "it has no budget for any hardware class"))
    return tuple(found)


def accuracy_of(manifest: Manifest) -> float | None:
    """The lowest accuracy on record; None where there is none."""
    found = [record.accuracy for record in manifest.evaluations if record.accuracy is not None]
    return min(found, default=None)


def overrides(limits: GateLimits) -> tuple[str, ...]:
    """The limits that are not the default ones, as sentences."""
    texts = ((f.name, _override(f.name, limits)) for f in fields(GateLimits))
    return tuple(f"{name} {getattr(limits, name):g} {text}" for name, text in texts if text)


def check_gates(manifest: Manifest, gates: Iterable[Gate]) -> None:
    """Raises StateError naming every gate that failed."""
    failed = [f"{gate.name}: {gate.text}" for gate in gates if not gate.is_passed]
    if failed:
        name = f"{manifest.model}:{manifest.version}"
        raise StateError(f"{name} does not pass its gates: {'; '.join(failed)}", Code.CONFLICT)


def _override(name: str, limits: GateLimits) -> str:
    default = getattr(DEFAULTS, name)
    return "" if getattr(limits, name) == default else f"instead of {default:g}"


def _at_least(
    what: str,
    key: str,
    limits: GateLimits,
    figures: Iterable[tuple[float | None, Evaluation]],
) -> Gate:
    limit, override = getattr(limits, key), _override(key, limits)
    found = [(figure, record) for figure, record in figures if figure is not None]
    if not found:
        text = f"no evaluation record with a dataset digest has {what}"
        return Gate(what, None, limit, False, text, override)
    figure, record = min(found, key=lambda one: one[0])
    text = f"{figure:.4g} on {record.dataset} ({record.sample_count} samples), needs {limit:g}"
    return Gate(what, figure, limit, figure >= limit and record.sample_count > 0, text, override)


def _latency(records: Iterable[Evaluation], limits: GateLimits) -> Gate:
    name, limit = "latency_us_p95", limits.latency_us_p95_max
    texts = [_override(key, limits) for key in ("latency_us_p95_max", "latency_runs_min")]
    override = " and ".join(text for text in texts if text)
    found = [record for record in records if record.latency_us_p95 is not None]
    enough = [r for r in found if (r.latency_runs or 0) >= limits.latency_runs_min]
    if not enough:
        runs = max((record.latency_runs or 0 for record in found), default=0)
        known = f"the records have one of {runs}" if runs else "no record has one"
        text = f"a p95 of {limits.latency_runs_min} runs is needed, {known}"
        return Gate(name, None, limit, False, text, override)
    worst = max(enough, key=lambda record: record.latency_us_p95 or 0)
    figure = float(worst.latency_us_p95 or 0)
    text = f"p95 of {worst.latency_runs} runs is {figure:.10g} us, must be below {limit}"
    return Gate(name, figure, limit, figure < limit, text, override)


def _memory(manifest: Manifest, hardware_class: str, budget: Budget) -> Gate:
    need = memory_bytes(manifest)
    text = f"{need} bytes of image and arena, the budget is {budget.memory_bytes}"
    is_passed = need <= budget.memory_bytes
    return Gate(f"memory_bytes/{hardware_class}", need, budget.memory_bytes, is_passed, text)


def _class_latency(
    manifest: Manifest,
    hardware_class: str,
    budget: Budget,
    limits: GateLimits,
    fleet: Measured | None,
) -> Gate:
    """The fleet's own figure counts before a record's: it was measured where it shall serve."""
    name, limit = f"latency_us_p95/{hardware_class}", budget.latency_us_p95
    if fleet is not None and fleet.inferences >= limits.latency_runs_min:
        figure = fleet.latency_us_p95
        text = f"{figure:.6g} us over {fleet.inferences} inferences of the fleet"
        return Gate(name, figure, limit, figure <= limit, f"{text}, the budget is {limit}")
    records = [
        record
        for record in manifest.evaluations
        if record.hardware_class == hardware_class
        and record.latency_us_p95 is not None
        and (record.latency_runs or 0) >= limits.latency_runs_min
    ]
    if not records:
        text = f"nobody measured {limits.latency_runs_min} inferences on this class"
        return Gate(name, None, limit, False, f"{text}, the budget is {limit}")
    figure = float(max(record.latency_us_p95 or 0 for record in records))
    text = f"{figure:.10g} us on record, the budget is {limit}"
    return Gate(name, figure, limit, figure <= limit, text)
